"""Which calls run, which wait in a queue, and which are refused before they cost anything; the members' quotas.

May use settings, errors, observation, process, and the store's interfaces.
Used by usage, catalog, memberships, batch and transport, and by running, which makes it.
"""
