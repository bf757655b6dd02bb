"""The three hosts, with methods that tests define."""
