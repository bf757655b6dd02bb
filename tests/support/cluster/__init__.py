"""Real clusters: how they are started, looked at and disturbed, and what stands in them."""
