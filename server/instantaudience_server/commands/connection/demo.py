"""The demo catalog's accounts, and a first call with one."""

import json
import shlex
from typing import NamedTuple


class Credentials(NamedTuple):
    """A user name and a password."""

    username: str
    password: str


def demo_credentials(username: str = "demo") -> Credentials:
    """The demo account with this user name."""
    # Imported here: most commands have a token, and importing this takes as long as they do.
    import yaml

    from instantaudience_server.catalog.files.file import DEMO

    users = yaml.safe_load(DEMO.read_text(encoding="utf-8"))["users"]
    return next(Credentials(username, user["password"]) for user in users if user["username"] == username)


def demo_curl_line(url: str) -> str:
    """A POSIX shell command line that signs in and adds a user to two segments."""
    username, password = demo_credentials()
    sign_in = json.dumps({"auth": {"username": username, "password": password}})
    blocks = [{"seg_id": segment_id, "value": 1, "expiration": 1440} for segment_id in (10001, 10002)]
    request = json.dumps({"rt_segment": [{"user_id": "12345678900987654321", "seg_block": blocks}]})
    token = f"curl -s {url}/auth -d {shlex.quote(sign_in)} | cut -d '\"' -f 10"
    return f'TOKEN=$({token}); curl -H "Authorization: $TOKEN" {url}/rt-segment -d {shlex.quote(request)}'
