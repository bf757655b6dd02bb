"""The accounts for clients of the original platform (tests/legacy/): each has a member with two pages of segments, and
a second account, of another member that may read once per second."""

from typing import Any

from support.contract.model import UNLIMITED, UNLIMITED_DEMO

CLIENTS = ("appnexus-client", "nexusadspy", "pynexus", "anx-api", "appnexusapi", "f3ath", "watermanio")
"""Names of the accounts; the second ones have the prefix `slow-`."""
PASSWORD = "Moved-0ver-Passw0rd!"
SEGMENTS = 137
FIRST_ID = 3000
"""IDs of their members and users start here; no other object has IDs that high."""
FIRST_SEGMENT = 100_000


def catalog() -> dict[str, Any]:
    """The demo catalog without limits on calls, plus the objects that these clients need."""
    members: list[dict[str, Any]] = [{"id": FIRST_ID, "name": "Slow", "limits": UNLIMITED | {"gets_per_second": 1}}]
    users: list[dict[str, Any]] = []
    segments = []
    for number, name in enumerate(CLIENTS):
        member_id = FIRST_ID + 1 + number
        members.append({"id": member_id, "name": name, "limits": UNLIMITED})
        for username, owner in ((name, member_id), (f"slow-{name}", FIRST_ID)):
            account = {"username": username, "password": PASSWORD, "member_id": owner}
            users.append({"id": FIRST_ID + len(users), **account})
        first = FIRST_SEGMENT + number * SEGMENTS
        segments += [{"id": each, "member_id": member_id} for each in range(first, first + SEGMENTS)]
    added = {"members": members, "users": users, "segments": segments}
    return UNLIMITED_DEMO | {kind: [*UNLIMITED_DEMO[kind], *objects] for kind, objects in added.items()}
