"""Maps external IDs to platform users, resolves them, and deletes mappings (source: identity.proto)."""

from collections.abc import Iterable, Sequence

from instantaudience.v1 import identity_pb2 as pb

from instantaudience_server.catalog.access import Caller, member_of
from instantaudience_server.catalog.feed import CatalogFeed
from instantaudience_server.errors import invalid, required
from instantaudience_server.memberships.reading import identity
from instantaudience_server.process.clock import Clock
from instantaudience_server.store.interfaces.external_ids import ExternalIdStore
from instantaudience_server.store.interfaces.memberships import NEVER

LIFETIME_MS = 18 * 24 * 60 * 60 * 1000
"""How long a mapping lasts unless it is renewed: 18 days (source: identity.proto, MapUser)."""
MOST_MAPPED = 100
"""The most external IDs that a request may map to its user (source: identity.proto, UserMapping)."""
MOST_ASKED = 1000
"""The most external IDs that a request may resolve or unmap (source: identity.proto, ResolveUserRequest)."""


class IdentityService:
    """The operations on external IDs. Deadlines are times of the event loop's clock, in seconds.

    An ID that is repeated in a request counts once; case does not matter. Every method raises AudienceError: SYNTAX,
    naming the field and the rule; UNAUTH, for another member's external IDs without the role `admin`; NOT_FOUND, when
    there is no such member; UNAVAILABLE.
    """

    def __init__(self, feed: CatalogFeed, store: ExternalIdStore, clock: Clock) -> None:
        self._feed = feed
        self._store = store
        self._clock = clock

    async def map_user(self, request: pb.MapUserRequest, caller: Caller, deadline: float) -> pb.MappingResult:
        """Map external IDs to a platform user for 18 days from now; returns how many different IDs these are."""
        if not request.HasField("mapuid"):
            raise required("mapuid")
        mapping = request.mapuid
        member_id = (await member_of(mapping, self._feed, caller, deadline, "mapuid.member_id")).id
        if identity.platform_key(mapping.user_id) is None:
            rule = "must be a decimal without leading zeros, 1 to 18446744073709551615"
            raise invalid("mapuid.user_id", rule)
        keys = _keys(member_id, mapping.external_ids, "mapuid.external_ids", MOST_MAPPED)
        unique = _unique(keys)
        await self._store.map(unique, mapping.user_id, self._clock.now_ms() + LIFETIME_MS, deadline)
        return pb.MappingResult(status="OK", count=len(unique))

    async def resolve_users(
        self, request: pb.ResolveUserRequest, caller: Caller, deadline: float
    ) -> list[pb.ResolvedUser]:
        """Resolve external IDs: one answer for each, in the request's order."""
        member_id = (await member_of(request, self._feed, caller, deadline)).id
        keys = _keys(member_id, request.external_ids, "external_ids", MOST_ASKED)
        unique = _unique(keys)
        found = dict(zip(unique, await self._store.resolve(unique, deadline), strict=True))
        return [
            _resolved(external_id.lower(), found[key])
            for external_id, key in zip(request.external_ids, keys, strict=True)
        ]

    async def unmap_users(self, request: pb.UnmapUserRequest, caller: Caller, deadline: float) -> pb.MappingResult:
        """Delete the mappings of external IDs; returns how many there were."""
        member_id = (await member_of(request, self._feed, caller, deadline)).id
        keys = _keys(member_id, request.external_ids, "external_ids", MOST_ASKED)
        return pb.MappingResult(status="OK", count=await self._store.forget(_unique(keys), deadline))


def _keys(member_id: int, external_ids: Sequence[str], field: str, most: int) -> list[bytes]:
    """The keys of external IDs, in their order; raises SYNTAX unless there are 1 to `most` and all are valid."""
    if not 0 < len(external_ids) <= most:
        raise invalid(field, f"must hold 1 to {most} external IDs")
    keys = []
    for index, external_id in enumerate(external_ids):
        key = identity.external_key(member_id, external_id)
        if key is None:
            path = f"{field}[{index}]"
            rule = f"must have 1 to {identity.LONGEST_EXTERNAL_ID} printable characters"
            raise invalid(path, rule)
        keys.append(key)
    return keys


def _unique(keys: Iterable[bytes]) -> list[bytes]:
    return list(dict.fromkeys(keys))


def _resolved(external_id: str, mapping: tuple[str, int] | None) -> pb.ResolvedUser:
    resolved = pb.ResolvedUser(external_id=external_id)
    if mapping is not None:
        resolved.user_id, end_ms = mapping
        if end_ms != NEVER:
            resolved.end.FromMilliseconds(end_ms)
    return resolved
