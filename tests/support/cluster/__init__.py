"""Real clusters: starting, inspecting and disturbing them, and their contents."""
