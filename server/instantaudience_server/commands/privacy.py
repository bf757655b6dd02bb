"""`user-data`: privacy requests about a user's data (source: contract-neighbours, "Privacy")."""

import sys
from typing import Any

import click

from instantaudience_server.commands.connection.client import Client
from instantaudience_server.commands.connection.options import member_option, with_client
from instantaudience_server.commands.printing.as_json import print_json, rest_json_option
from instantaudience_server.commands.printing.tables import print_table
from instantaudience_server.commands.typed import text

PATH = "/privacy/consumer-request"
_FOR_ALL = "{} is still suppressed for all members; an admin lifts that, without --member"
LIFTINGS = {
    (True, False): "{} is no longer suppressed",
    (False, False): "{} was not suppressed",
    (True, True): f"The member's own suppression is lifted, but {_FOR_ALL}",
    (False, True): f"The member had not suppressed the user, but {_FOR_ALL}",
}
"""What is said of a `lift`: whether it ended a suppression, and whether one for all members remains → text."""

_maid = click.option("--maid", is_flag=True, help="The ID is a mobile advertising ID (idfa or aaid).")


@click.group("user-data")
def user_data() -> None:
    """Show, delete and suppress a user's memberships. Without --member, an admin's commands are for all members."""


@user_data.command()
@click.argument("user_id", type=text)
@_maid
@member_option
@rest_json_option
@with_client()
def access(client: Client, user_id: str, maid: bool, member_id: int | None, as_json: bool) -> None:
    """Show the segments that a user is in."""
    segments = _ask(client, user_id, maid, member_id, request_type="access")["segments"]
    if as_json:
        print_json(segments)
        return
    _show(f"{user_id} is in", segments, f"{user_id} is in no segment")


@user_data.command()
@click.argument("user_id", type=text)
@_maid
@member_option
@click.option(
    "--suppress-minutes", type=click.IntRange(min=0), help="Also refuse to add the user for so long; 0: for ever."
)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@with_client()
def delete(
    client: Client, user_id: str, maid: bool, member_id: int | None, suppress_minutes: int | None, yes: bool
) -> None:
    """Take a user out of all segments."""
    if not yes:
        _agree(f"Take {user_id} out of all segments?")
    suppress = {} if suppress_minutes is None else {"suppress_minutes": suppress_minutes}
    segments = _ask(client, user_id, maid, member_id, request_type="delete", **suppress)["segments"]
    _show(f"{user_id} was taken out of", segments, f"{user_id} was in no segment")
    if suppress_minutes is not None:
        until = f"for at least {suppress_minutes} minutes" if suppress_minutes else "for ever"
        click.echo(f"{user_id} is suppressed {until}")


@user_data.command()
@click.argument("user_id", type=text)
@_maid
@member_option
@with_client()
def lift(client: Client, user_id: str, maid: bool, member_id: int | None) -> None:
    """Let a suppressed user be added again."""
    answer = _ask(client, user_id, maid, member_id, request_type="lift")
    click.echo(LIFTINGS[answer["lifted"], answer["still_suppressed"]].format(user_id))


def _agree(question: str) -> None:
    try:
        click.confirm(question, abort=True, err=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        click.echo(err=True)
        raise click.ClickException("nobody agreed to it: where nobody can be asked, say --yes") from None


def _ask(client: Client, user_id: str, maid: bool, member_id: int | None, **fields: Any) -> dict[str, Any]:
    body = {"identifier": user_id, "identifier_type": "maid" if maid else "uuid2", **fields}
    params = {} if member_id is None else {"member_id": member_id}
    answer: dict[str, Any] = client.call("POST", PATH, json=body, params=params)
    return answer


def _show(title: str, segments: list[dict[str, Any]], none: str) -> None:
    if segments:
        print_table(title, ("segment", "name"), [(segment["id"], segment["name"]) for segment in segments])
    else:
        click.echo(none)
