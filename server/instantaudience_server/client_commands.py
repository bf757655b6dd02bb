"""`apply` and `get`: the REST contract from the command line."""

import contextlib
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import click
import httpx
from rich.console import Console
from rich.table import Table

from instantaudience_server.demo import Credentials, demo_credentials

TIMEOUT_SECONDS = 30.0
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Client:
    """Calls the service, signing in when it has to; tokens are kept for the next command."""

    def __init__(self, url: str, token: str | None, credentials: Credentials | None) -> None:
        self._http = httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS)
        self._url = url
        self._token = token
        self._credentials = credentials

    def call(self, method: str, path: str, **kwargs: Any) -> dict[str, Any]:
        """The `response` object of a call's answer.

        Raises:
            click.ClickException: the call failed; the message says why and what to do.
        """
        if self._token is not None:
            return _answer(self._send(method, path, self._token, **kwargs))
        kept = _kept_token(self._url, self._required_credentials())
        if kept.exists():
            answer = self._send(method, path, kept.read_text(), **kwargs)
            if answer.status_code != httpx.codes.UNAUTHORIZED:
                return _answer(answer)
        return _answer(self._send(method, path, self._sign_in(kept), **kwargs))

    def _sign_in(self, kept: Path) -> str:
        credentials = self._required_credentials()
        answer = self._send("POST", "/auth", None, json={"auth": credentials._asdict()})
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            raise click.ClickException(
                f"the service does not accept the user name {credentials.username!r} with this password: set "
                "INSTANT_AUDIENCE_USERNAME and INSTANT_AUDIENCE_PASSWORD, or INSTANT_AUDIENCE_TOKEN"
            )
        token: str = _answer(answer)["token"]
        with contextlib.suppress(OSError):  # without a place for it, the next command signs in again
            kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(token)
        return token

    def _required_credentials(self) -> Credentials:
        if self._credentials is not None:
            return self._credentials
        if urlsplit(self._url).hostname in LOOPBACK:
            return demo_credentials()
        raise click.ClickException(
            "no credentials: set INSTANT_AUDIENCE_USERNAME and INSTANT_AUDIENCE_PASSWORD, or INSTANT_AUDIENCE_TOKEN"
        )

    def _send(self, method: str, path: str, token: str | None, **kwargs: Any) -> httpx.Response:
        headers = {} if token is None else {"authorization": token}
        try:
            return self._http.request(method, path, headers=headers, **kwargs)
        except httpx.HTTPError as error:
            raise click.ClickException(
                f"{self._url} does not answer ({error}): start the service with `make run`, or name another with --url"
            ) from error


def _answer(answer: httpx.Response) -> dict[str, Any]:
    try:
        response: dict[str, Any] = answer.json()["response"]
    except (ValueError, KeyError, TypeError):
        raise click.ClickException(f"{answer.url} is not this service: HTTP {answer.status_code}") from None
    if answer.is_error:
        wait = answer.headers.get("retry-after")
        hint = f"; try again in {wait} s" if wait else ""
        raise click.ClickException(f"{response['error_id']}: {response['error']}{hint}")
    return response


def _kept_token(url: str, credentials: Credentials) -> Path:
    """Where the token for an account on a service is kept, readable by its owner alone."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = hashlib.sha256("\n".join((url, *credentials)).encode()).hexdigest()
    return cache / "instant-audience" / f"token-{name}"


def _connection_options(command: Any) -> Any:
    for option in (
        click.option(
            "--token", envvar="INSTANT_AUDIENCE_TOKEN", show_envvar=True, help="A token, instead of signing in."
        ),
        click.option(
            "--password", envvar="INSTANT_AUDIENCE_PASSWORD", show_envvar=True, help="The account's password."
        ),
        click.option(
            "--username",
            envvar="INSTANT_AUDIENCE_USERNAME",
            show_envvar=True,
            help="The account to sign in with. Without one, and on this machine, the demo catalog's.",
        ),
        click.option(
            "--url",
            envvar="INSTANT_AUDIENCE_URL",
            show_envvar=True,
            default="http://127.0.0.1:8080",
            show_default=True,
            help="Where the service is.",
        ),
    ):
        command = option(command)
    return command


def _client(url: str, username: str | None, password: str | None, token: str | None) -> Client:
    if (username is None) != (password is None):
        raise click.UsageError("--username and --password go together")
    return Client(url, token, None if username is None or password is None else Credentials(username, password))


@click.command()
@click.argument("file", type=click.File("rb"))
@_connection_options
def apply(file: BinaryIO, url: str, username: str | None, password: str | None, token: str | None) -> None:
    """Post the JSON in FILE (- for standard input) to /rt-segment and show the answer."""
    response = _client(url, username, password, token).call("POST", "/rt-segment", content=file.read())
    click.echo(json.dumps({"response": response}, indent=2, ensure_ascii=False))
    if response["warnings"]:
        click.echo(f"parts of the request were skipped; warnings: {len(response['warnings'])}", err=True)


@click.command()
@click.argument("user_id")
@click.option("--domain", help="The kind of ID: idfa, aaid, sha1udid, openudid, md5udid. Without it: a platform user.")
@_connection_options
def get(
    user_id: str, domain: str | None, url: str, username: str | None, password: str | None, token: str | None
) -> None:
    """Show the memberships of a user as a table."""
    params = {"user_id": user_id} | ({"domain": domain} if domain else {})
    response = _client(url, username, password, token).call("GET", "/rt-segment", params=params)
    (user,) = response["rt_segment"]
    table = Table(title=f"{user.get('domain', 'user')} {user['user_id']}", title_justify="left")
    for heading in ("segment", "code", "member", "value", "minutes left"):
        table.add_column(heading, justify="left" if heading == "code" else "right")
    for block in user["seg_block"]:
        left = str(block["expiration"]) if block["expiration"] else "never ends"
        row = (block["seg_id"], block.get("seg_code", ""), block["member_id"], block["value"], left)
        table.add_row(*(str(cell) for cell in row))
    Console(file=sys.stdout).print(table if user["seg_block"] else f"{user['user_id']} is in no segment")
