"""The three hosts with methods of the tests' own."""
