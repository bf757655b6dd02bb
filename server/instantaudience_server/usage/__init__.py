"""Usage reports: counts what members send by hour, samples lines of it, and reports both.

May use catalog, admission (quotas), applied, and the store's interfaces.
Used by memberships, batch, transport and running; by the gateway for the statuses that it refuses calls with.
"""
