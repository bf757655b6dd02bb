"""Programs of third parties that the service sends data to."""
