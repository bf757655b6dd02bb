"""Hooks for Schemathesis, which generates calls from the OpenAPI document: their tokens, and which calls are skipped.

It runs as a separate program, and reads `TOKEN`, `ADMIN_TOKEN` and `JWT` from its environment. The JWT allows any
number of sign-ins; with a password, it is 10 in 5 minutes.
"""

import os
import re
from typing import Any

import httpx
import schemathesis

CLIENT = httpx.Client()
OF_ADMINS = ["ChangeConfig", "ChangeConfigByPost"]
"""Calls that need the role `admin`. With that role, all others would find and change other members' objects."""

OWN = {"member_id": 123}
"""The member of all accounts that call."""
OWN_KEYS = OWN | {"user_id": 1001}
"""The user whose keys `TOKEN` may change."""


@schemathesis.hook
def filter_case(_: schemathesis.HookContext, case: schemathesis.Case) -> bool:
    """Whether a generated call is made: invalid ones with an empty parameter or a `null` in the body are skipped, since
    these count as absent (docs/api.md), so that the call may be valid."""
    if case.meta is None or not case.meta.generation.mode.is_negative:
        return True
    parameters = (case.query or {}).items()
    return not (any(value in ("", [], {}) for name, value in parameters if name != "access_token") or _null(case.body))


def _null(value: Any) -> bool:
    """Whether a JSON value contains `null`."""
    if isinstance(value, dict):
        return any(map(_null, value.values()))
    return any(map(_null, value)) if isinstance(value, list) else value is None


@schemathesis.hook
def map_case(_: schemathesis.HookContext, case: schemathesis.Case) -> schemathesis.Case:
    """Restrict a call to its caller's own member and keys; otherwise, it would always be refused."""
    own = OWN_KEYS if case.path == "/public-key" else OWN
    for name in own.keys() & (case.query or {}).keys():
        if re.fullmatch(r"-?\d+", str(case.query[name])):
            case.query[name] = str(own[name])
    case.body = _with(OWN, case.body)
    return case


def _with(own: dict[str, int], value: Any) -> Any:
    """A JSON value in which these keys have these numbers, if they occur."""
    if isinstance(value, list):
        return [_with(own, each) for each in value]
    if not isinstance(value, dict):
        return value
    return {key: own[key] if key in own and type(each) is int else _with(own, each) for key, each in value.items()}


class _Token:
    """Adds a token to calls."""

    def set(self, case: schemathesis.Case, token: str, _: Any) -> None:
        case.headers["Authorization"] = token


@schemathesis.auth().skip_for(operation_id=[*OF_ADMINS, "SignOut"])
class MembersToken(_Token):
    """The same member's token for all calls."""

    def get(self, case: schemathesis.Case, _: Any) -> str:
        return os.environ["TOKEN"]


@schemathesis.auth().apply_to(operation_id=OF_ADMINS)
class AdminsToken(_Token):
    """The same admin's token for all calls."""

    def get(self, case: schemathesis.Case, _: Any) -> str:
        return os.environ["ADMIN_TOKEN"]


@schemathesis.auth(refresh_interval=None).apply_to(operation_id="SignOut")
class FreshToken(_Token):
    """A new token for each call, which revokes it."""

    def get(self, case: schemathesis.Case, _: Any) -> str:
        answer = CLIENT.post(f"{case.operation.schema.get_base_url()}v2/auth/jwt", content=os.environ["JWT"])
        return str(answer.raise_for_status().json()["response"]["token"])
