"""The service, room by room; CONTRIBUTING.md has the picture.

What is in no room is small, and used by many: errors, clock, settings, telemetry, metrics, waiting, processes at the
bottom; health, quotas, segment_sizes, applied above the store; tokens above the catalog.
"""
