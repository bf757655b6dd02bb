"""What members sent, hour by hour: counted, sampled, kept, and reported.

May use catalog, quotas, applied, and the store's interfaces.
Used by memberships, batch, transport and running; the gateway has the names of refusals from here.
"""
