"""Resolves the external IDs of requests to platform users (source: contract, "Domains")."""

from collections.abc import Mapping, Sequence

from instantaudience_server.catalog.catalog import Member
from instantaudience_server.memberships.reading import identity, rules
from instantaudience_server.memberships.reading.wire import decode_user
from instantaudience_server.store.interfaces.memberships import MembershipStore
from instantaudience_server.store.keys import EXTERNAL_PREFIX


class ExternalIds:
    """Resolves external IDs. Deadlines are times of the event loop's clock, in seconds."""

    def __init__(self, store: MembershipStore) -> None:
        self._store = store

    async def of_request(self, users: Sequence[bytes], member: Member, deadline: float) -> Mapping[bytes, bytes]:
        """As `platform_keys`, for a request's encoded users; empty if the member has no external IDs.

        Raises:
            AudienceError: SYNTAX, when a user cannot be decoded; UNAVAILABLE.
        """
        if member.external_member_id is None:
            return {}
        most_users = member.limits.users_per_call
        decoded = map(decode_user, users[:most_users])
        checked = (
            rules.check_user(index, user, member.external_member_id, most_users) for index, user in enumerate(decoded)
        )
        return await self.platform_keys([key for key, _ in checked if is_external(key)], deadline)

    async def platform_keys(self, external_keys: Sequence[bytes], deadline: float) -> Mapping[bytes, bytes]:
        """The keys of platform users, by the keys of the external IDs that map to them; unmapped ones are left out.

        Raises:
            AudienceError: UNAVAILABLE.
        """
        unique = list(dict.fromkeys(external_keys))
        user_ids = await self._store.resolve_external_ids(unique, deadline)
        keys = {
            external: identity.platform_key(user_id)
            for external, user_id in zip(unique, user_ids, strict=True)
            if user_id is not None
        }
        return {external: key for external, key in keys.items() if key is not None}


def is_external(key: bytes) -> bool:
    """Whether a key is that of an external ID."""
    return key.startswith(EXTERNAL_PREFIX)
