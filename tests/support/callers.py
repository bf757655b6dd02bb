"""The demo catalog and its accounts, as the services see them."""

from argon2 import PasswordHasher
from instantaudience_server.access import Caller
from instantaudience_server.catalog import Catalog
from instantaudience_server.catalog_file import DEMO, build_catalog, read_catalog

_QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def quick_hash(password: str) -> str:
    """An argon2 hash that costs next to nothing, for tests only."""
    return _QUICK.hash(password)


def demo_catalog() -> Catalog:
    """The catalog that the vectors assume."""
    return build_catalog(read_catalog(DEMO, quick_hash))


def caller(username: str, catalog: Catalog) -> Caller:
    """The account of that name, calling."""
    account = catalog.accounts_by_name[username]
    return Caller(account, catalog.members[account.member_id])
