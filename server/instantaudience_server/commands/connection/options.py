"""Common options: the URL of the service, and who calls it."""

import contextlib
import functools
import os
import sys
from collections.abc import Callable
from typing import Any

import click
from instantaudience.rules import TOKEN_CHARACTERS

from instantaudience_server.commands.connection.client import Client
from instantaudience_server.commands.connection.demo import Credentials
from instantaudience_server.commands.connection.passwords import check_readable
from instantaudience_server.commands.connection.profiles import (
    DEFAULT,
    Profile,
    may_be_token,
    profile_name,
    read_profile,
)
from instantaudience_server.commands.connection.reaching import DEFAULT_URL
from instantaudience_server.commands.connection.tls import Tls, tls_options
from instantaudience_server.commands.typed import text

url_option = click.option(
    "--url",
    envvar="INSTANT_AUDIENCE_URL",
    show_envvar=True,
    help=f"The service's address. Default: that of the profile, or {DEFAULT_URL}.",
)
as_option = click.option(
    "--as",
    "username",
    type=text,
    envvar="INSTANT_AUDIENCE_USERNAME",
    show_envvar=True,
    help="The user to sign in as. The password is that in INSTANT_AUDIENCE_PASSWORD, or is asked for on a terminal.",
)
member_option = click.option(
    "--member", "member_id", type=click.IntRange(1, 2**31 - 1), help="The member. Default: one's own."
)
profile_option = click.option(
    "--profile",
    envvar="INSTANT_AUDIENCE_PROFILE",
    show_envvar=True,
    callback=profile_name,
    help=f"A sign-in that `login` has kept under this name. Default: {DEFAULT}, unless something else says who calls.",
)


def with_client(demo_username: str = "demo") -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorator: adds the options for the service and the caller, and passes a Client as the first argument.

    The first of these that is given identifies the caller: the named profile; the token in INSTANT_AUDIENCE_TOKEN; the
    named user, with a password; the default profile, if it is for this service; the name in the client certificate; on
    this machine, `demo_username` of the demo catalog.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def command(
            url: str | None, username: str | None, profile: str | None, tls: Tls | None, **arguments: Any
        ) -> None:
            with contextlib.closing(_client(url, username, profile, demo_username, tls)) as client:
                function(client, **arguments)

        for option in (as_option, profile_option, url_option):
            command = option(command)
        return tls_options(command)

    return decorate


def _client(url: str | None, username: str | None, profile: str | None, demo_username: str, tls: Tls | None) -> Client:
    # Secrets are not options: every account of the machine can read command lines.
    token = os.environ.get("INSTANT_AUDIENCE_TOKEN") or None
    if token is not None and not may_be_token(token):
        raise click.UsageError(
            f"INSTANT_AUDIENCE_TOKEN has characters that no token has, or more than {TOKEN_CHARACTERS}"
        )
    password = os.environ.get("INSTANT_AUDIENCE_PASSWORD") or None
    if password is not None:
        check_readable(password, "INSTANT_AUDIENCE_PASSWORD")
    if profile is not None:
        known = _named(profile, url)
        return Client(known.url, known.token, None, profile=profile, tls=tls or known.tls)
    if token is not None:
        return Client(url or DEFAULT_URL, token, None, tls=tls)
    if username is not None:
        if password is None:
            if not sys.stdin.isatty():
                raise click.UsageError("--as needs a password, in INSTANT_AUDIENCE_PASSWORD")
            password = click.prompt(f"Password of {username}", hide_input=True, err=True)
        return Client(url or DEFAULT_URL, None, Credentials(username, password), tls=tls)
    if password is not None:
        raise click.UsageError("whose password is INSTANT_AUDIENCE_PASSWORD? Say it with --as")
    default = read_profile(DEFAULT)
    if default is not None and url in (None, default.url):
        return Client(default.url, default.token, None, profile=DEFAULT, tls=tls or default.tls)
    return Client(url or DEFAULT_URL, None, None, demo_username, tls=tls)


def _named(profile: str, url: str | None) -> Profile:
    known = read_profile(profile)
    if known is None:
        raise click.ClickException(
            f"there is no profile {profile}: sign in with `instant-audience login --profile {profile}`"
        )
    if url not in (None, known.url):
        raise click.ClickException(f"profile {profile} is for {known.url}, not for {url}")
    return known
