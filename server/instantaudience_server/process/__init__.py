"""What a process needs, whatever it serves: clock, threads, child processes and ports, private files, a fast start.

May use observation. Used by every package above it.
"""
