"""The service, room by room; CONTRIBUTING.md has the picture.

What is in no room is small, and used by many: errors, clock, settings, telemetry, metrics, tracing, exemplars,
observations, waiting, protobuf_fields, processes at the bottom; health, quotas, segment_sizes, suppressions, applied
above the store; tokens above the catalog.
"""
