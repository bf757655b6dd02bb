"""The service, package by package; CONTRIBUTING.md has the picture.

Modules beside the packages: errors and settings at the bottom; segment_sizes, suppressions, applied and health above
the store.
"""
