"""Parses files: lines of text or Avro records, natively where possible; resolves users and segments, and determines
what each row changes and counts.

May use batch's content, jobs and counters, memberships, catalog, and the store's interfaces and keys. Used by
`applying` and `writing`.
"""
