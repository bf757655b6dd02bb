"""What several test suites share, in packages by subject."""
