"""The environment that clients of every language are tested in."""
