"""A model of the contract, written from its text alone, without looking at the service: plain dicts in, plain dicts
out.

It is as simple as possible, not fast. Tests compare the service with it.
"""

import re
import unicodedata
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import instantaudience_server
import yaml

User = tuple[str, str]
"""A user: the domain's name ("" for the platform) and the identifier as stored."""
State = dict[User, dict[int, tuple[int, int]]]
"""Memberships: segment ID → (value, end). An end is a Unix time in ms, or 0 for never."""
ExternalIds = Mapping[tuple[int, str], str]
"""External IDs: (member ID, external ID in lower case) → platform user ID."""

DEMO: dict[str, Any] = yaml.safe_load(
    (Path(instantaudience_server.__file__).parent / "catalog" / "files" / "demo.yaml").read_text(encoding="utf-8")
)
"""The catalog that the vectors assume, as in its file."""
UNLIMITED = {"posts_per_second": 2**31 - 1, "gets_per_second": 2**31 - 1, "users_per_second": 2**31 - 1}
UNLIMITED_DEMO = DEMO | {"members": [member | {"limits": UNLIMITED} for member in DEMO["members"]]}
"""The same without limits per second: tests send more than partners may."""

UUID = r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
DOMAINS = {
    "idfa": UUID,
    "aaid": UUID,
    "sha1udid": r"[0-9a-fA-F]{40}",
    "openudid": r"[0-9a-fA-F]{40}",
    "md5udid": r"[0-9a-fA-F]{32}",
}
THOUSAND_YEARS = 525_600_000
DIGITS = r"[+-]?[0-9]+"
NUMBER = r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?"


class UnreadableError(ValueError):
    """The request is answered with 400 SYNTAX, and nothing is applied."""


def apply(
    request: Any,
    state: State,
    catalog: Mapping[str, Any],
    username: str,
    now_ms: int,
    external_ids: ExternalIds | None = None,
) -> tuple[dict[str, Any], State]:
    """The response to `POST /rt-segment` (HTTP 200), and the state afterwards. Raises UnreadableError."""
    users = _readable(request)
    member = _member_of(catalog, username)
    new_state = {user: dict(memberships) for user, memberships in state.items()}
    warnings: list[dict[str, Any]] = []
    valid_users = valid_blocks = 0

    def warn(message: str, entity: dict[str, Any]) -> None:
        warnings.append({"message": message, "entity": entity})

    for index, user in enumerate(users):
        problem = _problem_of_user(index, user, member)
        if problem:
            warn(problem, user)
            continue
        known = _who(user, member, external_ids or {})
        changes = []
        valid = 0
        for block in user["seg_block"][:100]:
            problem = _problem_of_block(block)
            if problem:
                warn(problem, block)
                continue
            valid += 1
            if known is None:
                continue
            segment, problem = _find_segment(block, member, catalog)
            if segment is None:
                warn(problem, block)
            else:
                changes.append((segment["id"], block))
        left_out = user["seg_block"][100:]
        if left_out:
            warn(f"Too many segments for user_id: {user['user_id']}.", {**user, "seg_block": left_out})
        if not valid:
            warn(f"No valid segments for user_id: {user['user_id']}.", user)
            continue
        valid_users += 1
        valid_blocks += valid
        if known is None:
            warn(f"Unknown user_id: {user['user_id']}", user)
            continue
        for segment_id, block in changes:
            _change(new_state.setdefault(known, {}), segment_id, block, member, now_ms)
    if not valid_users:
        warn("No valid rt_segment in request.", {"rt_segment": users} if users else {})
    counts = {"users_in_request": valid_users, "segments_in_request": valid_blocks}
    response = {"response": {"status": "OK", "message": counts, "warnings": warnings}}
    return response, {user: memberships for user, memberships in new_state.items() if memberships}


def counted(
    request: Any, catalog: Mapping[str, Any], username: str, external_ids: ExternalIds | None = None
) -> dict[str, int]:
    """The counts of an applied `POST /rt-segment` in a report, by the report's field names without `num_`.

    Raises UnreadableError: such a call is counted in `other_errors`.
    """
    member = _member_of(catalog, username)
    valid_users: set[User] = set()
    leaves: dict[tuple[User, int], bool] = {}
    counts = dict.fromkeys(
        ("invalid_users", "invalid_segments", "unauth_segments", "inactive_segments", "other_errors"), 0
    )
    for index, user in enumerate(_readable(request)):
        blocks = [block for block in user.get("seg_block", [])[:100] if not _problem_of_block(block)]
        if _problem_of_user(index, user, member) or not blocks:
            continue
        known = _who(user, member, external_ids or {})
        if known is None:
            counts["invalid_users"] += 1
            continue
        valid_users.add(known)
        for block in blocks:
            segment, problem = _find_segment(block, member, catalog)
            if segment is not None:
                leaves[known, segment["id"]] = block.get("expiration", member.get("default_expiration", 0)) == -1
            elif problem.startswith("Invalid"):
                counts["invalid_segments"] += 1
            elif problem.startswith("Unauthorized"):
                counts["unauth_segments"] += 1
            else:
                counts["inactive_segments"] += 1
    removes = sum(leaves.values())
    return {"valid_users": len(valid_users), "valid_adds": len(leaves) - removes, "valid_removes": removes, **counts}


def read(
    user_id: str,
    domain: str | None,
    state: State,
    catalog: Mapping[str, Any],
    username: str,
    now_ms: int,
    external_ids: ExternalIds | None = None,
) -> dict[str, Any]:
    """The response to `GET /rt-segment`. Raises UnreadableError if it is 400."""
    member = _member_of(catalog, username)
    user: dict[str, Any] = {"user_id": user_id, "seg_block": [{}]}
    if domain:
        user["domain"] = domain
    if _problem_of_user(0, user, member):
        raise UnreadableError(user_id)
    known = _who(user, member, external_ids or {})
    blocks = []
    for segment_id, (value, end_ms) in sorted(state.get(known, {}).items()) if known else ():
        segment = next((segment for segment in catalog["segments"] if segment["id"] == segment_id), None)
        if segment is None or not _may_use(member, segment) or 0 < end_ms <= now_ms:
            continue
        block = {"seg_id": segment_id, "member_id": segment["member_id"], "value": value}
        block["expiration"] = -((now_ms - end_ms) // 60_000) if end_ms else 0
        if "code" in segment:
            block["seg_code"] = segment["code"]
        blocks.append(block)
    entry = {"user_id": user_id.lower(), "domain": domain} if domain else {"user_id": user_id}
    return {"response": {"status": "OK", "rt_segment": [{**entry, "seg_block": blocks}]}}


def _readable(request: Any) -> list[dict[str, Any]]:
    """The users of a request as the response's entity repeats them: without unknown keys, `null`s and empty lists."""
    return [
        _present(
            user_id=_text(user, "user_id"),
            domain=_text(user, "domain"),
            seg_block=[
                _present(
                    seg_id=_int32(block, "seg_id"),
                    seg_code=_text(block, "seg_code"),
                    value=_int32(block, "value"),
                    expiration=_int32(block, "expiration"),
                    member_id=_int32(block, "member_id"),
                )
                for block in _objects(user, "seg_block")
            ]
            or None,
        )
        for user in _objects(_object(request), "rt_segment")
    ]


def _present(**fields: Any) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value is not None}


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UnreadableError(value)
    return value


def _objects(parent: dict[str, Any], key: str) -> list[dict[str, Any]]:
    values = parent.get(key)
    if values is None:
        return []
    if not isinstance(values, list):
        raise UnreadableError(key)
    return [_object(value) for value in values]


def _text(parent: dict[str, Any], key: str) -> str | None:
    value = parent.get(key)
    if value is not None and not isinstance(value, str):
        raise UnreadableError(key)
    return value


def _int32(parent: dict[str, Any], key: str) -> int | None:
    """A JSON number, including `1.0` and `1e2`, or digits in a string, as an int32; None if it is none."""
    value = parent.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not re.fullmatch(DIGITS if isinstance(value, str) else NUMBER, str(value)):
        raise UnreadableError(key)
    number = Decimal(str(value))
    if number % 1 or not -(2**31) <= number < 2**31:
        raise UnreadableError(key)
    return int(number)


def _member_of(catalog: Mapping[str, Any], username: str) -> dict[str, Any]:
    (user,) = (user for user in catalog["users"] if user["username"] == username)
    (member,) = (member for member in catalog["members"] if member["id"] == user["member_id"])
    return dict(member)


def _problem_of_user(index: int, user: dict[str, Any], member: dict[str, Any]) -> str:
    """The warning of the first of the contract's checks that fails; "" if none does."""
    if index >= 1000:
        return "Too many user_ids in request."
    if not user.get("user_id"):
        return "'user_id' is required and cannot be empty"
    if not user.get("seg_block"):
        return "'seg_block' is required"
    if user.get("domain") and user["domain"] not in DOMAINS:
        return f"Invalid domain: {user['domain']}"
    if not _well_formed(user["user_id"], user.get("domain"), member):
        return f"Invalid user_id: {user['user_id']}"
    return ""


def _well_formed(user_id: str, domain: str | None, member: dict[str, Any]) -> bool:
    if domain:
        return bool(re.fullmatch(DOMAINS[domain], user_id))
    if member.get("use_external_uids"):
        return len(user_id) <= 256 and all(character == " " or _visible(character) for character in user_id)
    return bool(re.fullmatch(r"[1-9][0-9]*", user_id)) and int(user_id) <= 18_446_744_073_709_551_615


def _visible(character: str) -> bool:
    """Whether a character is not a control, format, private-use, unassigned or separator character."""
    return unicodedata.category(character)[0] not in "CZ"


def _problem_of_block(block: dict[str, Any]) -> str:
    if "seg_id" not in block and not (block.get("seg_code") and "member_id" in block):
        return "'seg_id' or 'seg_code' and 'member_id' are required"
    if "seg_id" in block and block.get("seg_code"):
        return "'seg_id' and 'seg_code' cannot be used together"
    if block.get("expiration", 0) < -1:
        return "'expiration' cannot be less than -1"
    return ""


def _who(user: dict[str, Any], member: dict[str, Any], external_ids: ExternalIds) -> User | None:
    """The user whose memberships change; None if an external ID is not mapped."""
    domain, user_id = user.get("domain") or "", user["user_id"]
    if not domain and member.get("use_external_uids"):
        mapped = external_ids.get((member["id"], user_id.lower()))
        return None if mapped is None else ("", mapped)
    return domain, user_id.lower()


def _find_segment(
    block: dict[str, Any], member: dict[str, Any], catalog: Mapping[str, Any]
) -> tuple[dict[str, Any] | None, str]:
    if "seg_id" in block:
        name = str(block["seg_id"])
        found = [segment for segment in catalog["segments"] if segment["id"] == block["seg_id"]]
    else:
        code, owner = block["seg_code"], block["member_id"]
        name = f"{code} of member {owner}"
        found = [
            segment for segment in catalog["segments"] if (segment["member_id"], segment.get("code")) == (owner, code)
        ]
    if not found:
        return None, f"Invalid segment: {name}"
    if not _may_use(member, found[0]):
        return None, f"Unauthorized segment: {name}"
    if found[0].get("state") == "inactive":
        return None, f"Inactive segment: {name}"
    return found[0], ""


def _may_use(member: dict[str, Any], segment: dict[str, Any]) -> bool:
    return segment["member_id"] in (member["id"], *member.get("segment_access", []))


def _change(
    memberships: dict[int, tuple[int, int]], segment_id: int, block: dict[str, Any], member: dict[str, Any], now_ms: int
) -> None:
    expiration = block.get("expiration", member.get("default_expiration", 0))
    if expiration == -1:
        memberships.pop(segment_id, None)
    elif expiration == 0 or expiration > THOUSAND_YEARS:
        memberships[segment_id] = (block.get("value", 0), 0)
    else:
        memberships[segment_id] = (block.get("value", 0), now_ms + expiration * 60_000)
