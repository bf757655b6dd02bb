"""`apply` and `get`: the REST contract from the command line."""

import codecs
from typing import Any, BinaryIO

import click

from instantaudience_server.commands.connection.client import Client
from instantaudience_server.commands.connection.options import with_client
from instantaudience_server.commands.printing.as_json import print_json, rest_json_option
from instantaudience_server.commands.printing.tables import print_table
from instantaudience_server.commands.typed import text

REFUSED_USERS = ("UNKNOWN_USER_ID", "SUPPRESSED_USER_ID")
REFUSED_SEGMENTS = ("UNKNOWN_SEGMENT", "UNAUTHORIZED_SEGMENT", "INACTIVE_SEGMENT")
"""Warnings about well-formed users and segments (source: audience.proto, WarningCode)."""
LEAVE = -1
"""The `expiration` of a block that takes a user out."""


@click.command(short_help="Post a file of JSON to /rt-segment, and show the answer.")
@click.argument("file", type=click.File("rb"))
@with_client()
def apply(client: Client, file: BinaryIO) -> None:
    """Post the JSON in FILE (- for standard input) to /rt-segment and show the answer.

    The exit status is 1 where nothing in it was valid.
    """
    content = file.read().removeprefix(codecs.BOM_UTF8)  # no part of the JSON (RFC 8259, 8.1), as for `send`
    response = client.call("POST", "/rt-segment", content=content, params={"detail": "true"})
    print_json({"response": response})
    if response["warnings"]:
        click.echo(f"parts of the request were skipped; warnings: {len(response['warnings'])}", err=True)
    if _is_nothing(response):
        raise click.ClickException("nothing in the request was valid")


def _is_nothing(response: dict[str, Any]) -> bool:
    """Whether nothing in a request was applied. The response counts blocks before the catalog is asked, so what was
    refused later is subtracted: single blocks, and those of refused users; but a suppressed user is taken out."""
    warnings = [(each.get("code", "").removeprefix("WARNING_CODE_"), each) for each in response["warnings"]]
    places = {each.get("path") for _, each in warnings}
    past_the_most = {
        each["path"]: len(each["entity"]["seg_block"]) for code, each in warnings if code == "TOO_MANY_SEGMENTS"
    }
    left: int = response["message"]["segments_in_request"]
    for code, each in warnings:
        if code in REFUSED_SEGMENTS:
            left -= 1
        elif code in REFUSED_USERS:
            path, blocks = each["path"], each["entity"]["seg_block"]
            for index, block in enumerate(blocks[: len(blocks) - past_the_most.get(path, 0)]):
                is_applied = code == "SUPPRESSED_USER_ID" and block.get("expiration") == LEAVE
                left -= not is_applied and f"{path}.seg_block[{index}]" not in places
    return left <= 0


@click.command()
@click.argument("user_id", type=text)
@click.option(
    "--domain", type=text, help="The kind of ID: idfa, aaid, sha1udid, openudid, md5udid. Without it: a platform user."
)
@rest_json_option
@with_client()
def get(client: Client, user_id: str, domain: str | None, as_json: bool) -> None:
    """Show the memberships of a user as a table."""
    params = {"user_id": user_id} | ({"domain": domain} if domain else {})
    (user,) = client.call("GET", "/rt-segment", params=params)["rt_segment"]
    if as_json:
        print_json(user)
        return
    if not user["seg_block"]:
        click.echo(f"{user['user_id']} is in no segment")
        return
    rows = [
        (
            block["seg_id"],
            block.get("seg_code"),
            block["member_id"],
            block["value"],
            block["expiration"] or "never ends",
        )
        for block in user["seg_block"]
    ]
    title = f"{user.get('domain', 'user')} {user['user_id']}"
    print_table(title, ("segment", "code", "member", "value", "minutes left"), rows)
