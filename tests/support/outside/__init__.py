"""Programs of others that the service sends something to."""
