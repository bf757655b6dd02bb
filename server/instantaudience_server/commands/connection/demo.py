"""First calls for newcomers, with the demo catalog's accounts."""

import json
import shlex
from typing import NamedTuple


class Credentials(NamedTuple):
    """A user name and password."""

    username: str
    password: str


def demo_credentials(username: str = "demo") -> Credentials:
    """The account of the demo catalog with this name."""
    # Only here: most commands have a token, and reading this takes as long as they do.
    import yaml

    from instantaudience_server.catalog.file import DEMO

    users = yaml.safe_load(DEMO.read_text(encoding="utf-8"))["users"]
    return next(Credentials(username, user["password"]) for user in users if user["username"] == username)


def demo_curl_line(url: str) -> str:
    """A line for a POSIX shell that signs in and adds a user to two segments."""
    username, password = demo_credentials()
    sign_in = json.dumps({"auth": {"username": username, "password": password}})
    blocks = [{"seg_id": segment_id, "value": 1, "expiration": 1440} for segment_id in (10001, 10002)]
    request = json.dumps({"rt_segment": [{"user_id": "12345678900987654321", "seg_block": blocks}]})
    token = f"curl -s {url}/auth -d {shlex.quote(sign_in)} | cut -d '\"' -f 10"
    return f'TOKEN=$({token}); curl -H "Authorization: $TOKEN" {url}/rt-segment -d {shlex.quote(request)}'
