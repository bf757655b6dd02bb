"""What clients of every language are tested against."""
