"""The demo catalog and its accounts, as the services see them."""

from argon2 import PasswordHasher
from instantaudience.v1 import catalog_pb2 as pb
from instantaudience_server.catalog import records as catalog_records
from instantaudience_server.catalog.access import Caller
from instantaudience_server.catalog.catalog import Account, Catalog
from instantaudience_server.catalog.file import DEMO, CatalogEntries, read_catalog
from instantaudience_server.store.interfaces.catalog import Record

from support.contract.model import UNLIMITED

_QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def quick_hash(password: str) -> str:
    """An argon2 hash that costs next to nothing, for tests only."""
    return _QUICK.hash(password)


def demo_catalog() -> Catalog:
    """The catalog that the vectors assume; tests send more than its members may in a second."""
    entries = read_catalog(DEMO)
    for member in entries.members:
        member.limits.MergeFrom(pb.Limits(**UNLIMITED))
    return catalog_of(entries)


def catalog_of(entries: CatalogEntries) -> Catalog:
    """What stands in a file, as workers hold it."""
    messages = (*entries.members, *(each.user for each in entries.users), *entries.segments)
    return Catalog(Record(catalog_records.kind_of(message), catalog_records.encode(message)) for message in messages)


def account_named(username: str, catalog: Catalog) -> Account:
    """The one account of that name."""
    (account,) = [account for account in catalog.accounts.values() if account.username == username]
    return account


def caller(username: str, catalog: Catalog) -> Caller:
    """The account of that name, calling."""
    account = account_named(username, catalog)
    return Caller(account, catalog.members[account.member_id])
