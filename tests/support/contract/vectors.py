"""The contract's own examples: requests, and the exact responses to them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).parents[2] / "vectors"


@dataclass(frozen=True)
class Membership:
    """A membership after a vector's request: `expiration` in minutes, 0 for never, -1 for a user that left."""

    value: int
    expiration: int


@dataclass(frozen=True)
class Vector:
    """An example. `memberships` is by (domain or "", user ID as stored) and segment ID."""

    name: str
    user: str
    request: dict[str, Any]
    response: dict[str, Any]
    memberships: dict[tuple[str, str], dict[int, Membership]]


def rt_segment_vectors() -> list[Vector]:
    """The examples of `POST /rt-segment`."""
    return [
        Vector(
            entry["name"],
            entry["user"],
            entry["request"],
            entry["response"],
            {
                (user["domain"] or "", user["user_id"]): {
                    int(segment): Membership(**expected) for segment, expected in user["segments"].items()
                }
                for user in entry["memberships"]
            },
        )
        for entry in json.loads((VECTORS / "rt_segment.json").read_text(encoding="utf-8"))
    ]
