"""The service, room by room; CONTRIBUTING.md has the picture.

What is in no room is small, and used by many: errors, clock, settings, telemetry, metrics, metric_files, tracing,
exemplars, observations, waiting, protobuf_fields, private_files, processes at the bottom; health, quotas,
segment_sizes, suppressions, applied above the store; tokens above the catalog.
"""
