"""What Schemathesis loads to make calls of the OpenAPI document: whose token they carry, and which are not made.

It runs as a program of its own, and has from its environment `TOKEN`, `ADMIN_TOKEN`, and `JWT`, to sign in with as
often as need be (by a password: 10 times in 5 minutes).
"""

import os
from typing import Any

import httpx
import schemathesis

CLIENT = httpx.Client()
OF_ADMINS = ["ChangeConfig", "ChangeConfigByPost"]
"""Calls that need the role `admin`. With it, all others would find and change what is other members'."""


@schemathesis.hook
def filter_case(_: schemathesis.HookContext, case: schemathesis.Case) -> bool:
    """Whether a call is made: none that is wrong, and has an empty parameter. That counts as an absent one, so that the
    call may well be right."""
    is_wrong = case.meta is not None and case.meta.generation.mode.is_negative
    parameters = (case.query or {}).items()
    return not is_wrong or all(value not in ("", [], {}) for name, value in parameters if name != "access_token")


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
