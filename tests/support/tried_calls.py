"""What Schemathesis loads to make calls of the OpenAPI document: whose token they carry, and which are not made.

It runs as a program of its own, and has from its environment `TOKEN`, `ADMIN_TOKEN`, and `JWT`, to sign in with as
often as need be (by a password: 10 times in 5 minutes).
"""

import os
import re
from typing import Any

import httpx
import schemathesis

CLIENT = httpx.Client()
OF_ADMINS = ["ChangeConfig", "ChangeConfigByPost"]
"""Calls that need the role `admin`. With it, all others would find and change what is other members'."""

OWN = {"member_id": 123}
"""The member of all accounts that call."""
OWN_KEYS = OWN | {"user_id": 1001}
"""Whose keys `TOKEN` may change."""


@schemathesis.hook
def filter_case(_: schemathesis.HookContext, case: schemathesis.Case) -> bool:
    """Whether a call is made: none that is wrong, and has an empty parameter or a `null` in its body. These count as
    absent (docs/api.md), so that the call may well be right."""
    if case.meta is None or not case.meta.generation.mode.is_negative:
        return True
    parameters = (case.query or {}).items()
    return not (any(value in ("", [], {}) for name, value in parameters if name != "access_token") or _null(case.body))


def _null(value: Any) -> bool:
    """Whether a value of JSON has a `null`."""
    if isinstance(value, dict):
        return any(map(_null, value.values()))
    return any(map(_null, value)) if isinstance(value, list) else value is None


@schemathesis.hook
def map_case(_: schemathesis.HookContext, case: schemathesis.Case) -> schemathesis.Case:
    """Have a call be about its caller's own member and keys: what is others' is refused, whatever else is said."""
    own = OWN_KEYS if case.path == "/public-key" else OWN
    for name in own.keys() & (case.query or {}).keys():
        if re.fullmatch(r"-?\d+", str(case.query[name])):
            case.query[name] = str(own[name])
    case.body = _with(OWN, case.body)
    return case


def _with(own: dict[str, int], value: Any) -> Any:
    """A value of JSON, where these keys have these numbers if they have any."""
    if isinstance(value, list):
        return [_with(own, each) for each in value]
    if not isinstance(value, dict):
        return value
    return {key: own[key] if key in own and type(each) is int else _with(own, each) for key, each in value.items()}


class _Token:
    """Puts a token into calls."""

    def set(self, case: schemathesis.Case, token: str, _: Any) -> None:
        case.headers["Authorization"] = token


@schemathesis.auth().skip_for(operation_id=[*OF_ADMINS, "SignOut"])
class MembersToken(_Token):
    """One for all calls."""

    def get(self, case: schemathesis.Case, _: Any) -> str:
        return os.environ["TOKEN"]


@schemathesis.auth().apply_to(operation_id=OF_ADMINS)
class AdminsToken(_Token):
    """One for all calls."""

    def get(self, case: schemathesis.Case, _: Any) -> str:
        return os.environ["ADMIN_TOKEN"]


@schemathesis.auth(refresh_interval=None).apply_to(operation_id="SignOut")
class FreshToken(_Token):
    """A new one for each call, which ends it."""

    def get(self, case: schemathesis.Case, _: Any) -> str:
        answer = CLIENT.post(f"{case.operation.schema.get_base_url()}v2/auth/jwt", content=os.environ["JWT"])
        return str(answer.raise_for_status().json()["response"]["token"])
