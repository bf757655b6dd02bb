"""The demo catalog and its accounts, as services see them."""

from argon2 import PasswordHasher
from instantaudience.v1 import catalog_pb2 as pb
from instantaudience_server.catalog import records as catalog_records
from instantaudience_server.catalog.access import Caller
from instantaudience_server.catalog.catalog import Account, Catalog
from instantaudience_server.catalog.files.file import DEMO, CatalogEntries, read_catalog
from instantaudience_server.store.interfaces.catalog import Record

from support.contract.model import UNLIMITED

_QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def quick_hash(password: str) -> str:
    """An argon2 hash with minimal cost, for tests only."""
    return _QUICK.hash(password)


def demo_catalog() -> Catalog:
    """The catalog that the vectors assume, without limits per second, since tests send more than its members may."""
    entries = read_catalog(DEMO)
    for member in entries.members:
        member.limits.MergeFrom(pb.Limits(**UNLIMITED))
    return catalog_of(entries)


def catalog_of(entries: CatalogEntries) -> Catalog:
    """The in-memory catalog of a file's entries."""
    messages = (*entries.members, *(each.user for each in entries.users), *entries.segments)
    return Catalog(Record(catalog_records.kind_of(message), catalog_records.encode(message)) for message in messages)


def account_named(username: str, catalog: Catalog) -> Account:
    """The account with this user name."""
    (account,) = [account for account in catalog.accounts.values() if account.username == username]
    return account


def caller(username: str, catalog: Catalog) -> Caller:
    """A caller with the account of this user name."""
    account = account_named(username, catalog)
    return Caller(account, catalog.members[account.member_id])
