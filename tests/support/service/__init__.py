"""The service as users run it: its processes, traffic to it, and its output and metrics."""
