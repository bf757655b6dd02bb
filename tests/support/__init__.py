"""What tests of several suites share, by what it stands for."""
