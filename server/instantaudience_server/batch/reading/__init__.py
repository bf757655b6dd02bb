"""What a file says: its lines, or the records of Avro, read natively where that can be; whom they mean, and what they
change and count.

May use batch's content, jobs and counters, memberships, catalog, and the store's interfaces and keys. Used by
`applying` and `writing`.
"""
