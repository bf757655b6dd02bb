"""The console in a browser, and data for it to show."""
