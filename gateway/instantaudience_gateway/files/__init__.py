"""Static files for browsers: how they are loaded and served.

May use nothing.
Used by console, reference, contract and envoy.
"""
