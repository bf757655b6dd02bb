"""The console in a browser, and what there is for it to show."""
