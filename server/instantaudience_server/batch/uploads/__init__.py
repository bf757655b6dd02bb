"""Files on their way in, and until their job has ended: what may come, and where it is kept.

May use batch's content and jobs, catalog, admission, and the store's interfaces. Used by the rest of batch, transport,
running and diagnosis.
"""
