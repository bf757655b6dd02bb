"""`login` and `logout`: stores a token for later commands, and revokes it."""

import contextlib
import sys

import click

from instantaudience_server.commands.connection.answers import and_so
from instantaudience_server.commands.connection.client import Client
from instantaudience_server.commands.connection.demo import Credentials
from instantaudience_server.commands.connection.options import as_option, profile_option, url_option
from instantaudience_server.commands.connection.passwords import read_password, stdin_option
from instantaudience_server.commands.connection.profiles import (
    DEFAULT,
    DamagedProfileError,
    Profile,
    read_profile,
    remove_profile,
    write_profile,
)
from instantaudience_server.commands.connection.reaching import DEFAULT_URL
from instantaudience_server.commands.connection.tls import Tls, tls_options


@click.command(short_help="Sign in, and keep the token for later commands.")
@url_option
@profile_option
@as_option
@stdin_option
@tls_options
def login(url: str | None, profile: str | None, username: str | None, password_stdin: bool, tls: Tls | None) -> None:
    """Sign in, and keep the token of the profile for later commands, readable by you alone.

    The password is kept nowhere. A token ends 2 hours after its last use, and after 24 hours at most.
    """
    name = profile or DEFAULT
    try:
        known = read_profile(name)
    except DamagedProfileError:
        known = None  # another one will take its place
    url = url or (known.url if known else DEFAULT_URL)
    if username is None:
        if not sys.stdin.isatty():
            raise click.UsageError("whose password is it? Say it with --as")
        username = click.prompt("User name", default=known.username if known else None, err=True)
    password = read_password("Password", from_stdin=password_stdin)
    assert username is not None
    tls = tls or (known.tls if known and known.url == url else Tls())
    with contextlib.closing(Client(url, None, Credentials(username, password), tls=tls)) as client:
        token = client.sign_in()
    write_profile(name, Profile(url, username, token, tls))
    click.echo(f"signed in to {url} as {username}" + (f", profile {name}" if name != DEFAULT else ""))


@click.command()
@profile_option
def logout(profile: str | None) -> None:
    """End the token of a profile, with the service and here.

    Where the service cannot be asked, it is deleted here all the same, and the exit status is 1.
    """
    name = profile or DEFAULT
    try:
        known = read_profile(name)
    except DamagedProfileError as error:
        remove_profile(name)
        left = f"profile {name} is deleted here, but a token that it may have had is not ended"
        raise click.ClickException(and_so(error.problem, left)) from error
    if known is None:
        raise click.ClickException(f"there is no profile {name}: nobody has signed in")
    try:
        with contextlib.closing(Client(known.url, known.token, None, tls=known.tls)) as client:
            client.revoke_token()
    except click.ClickException as error:
        left = f"profile {name} is deleted here, but its token is not ended"
        hint = "once the service answers, sign in again, and `instant-audience user revoke`"
        raise click.ClickException(and_so(error.message, left, hint)) from error
    finally:
        remove_profile(name)
    click.echo(f"signed out of {known.url}" + (f", profile {name}" if name != DEFAULT else ""))
