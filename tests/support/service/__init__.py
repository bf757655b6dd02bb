"""The service as its users run it: its processes, the traffic to it, and what it says and counts."""
