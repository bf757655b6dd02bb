"""`apply` and `get`: the REST contract from the command line."""

import json
from typing import BinaryIO

import click

from instantaudience_server.commands.client import Client, with_client
from instantaudience_server.commands.tables import print_table


@click.command()
@click.argument("file", type=click.File("rb"))
@with_client()
def apply(client: Client, file: BinaryIO) -> None:
    """Post the JSON in FILE (- for standard input) to /rt-segment and show the answer."""
    response = client.call("POST", "/rt-segment", content=file.read())
    click.echo(json.dumps({"response": response}, indent=2, ensure_ascii=False))
    if response["warnings"]:
        click.echo(f"parts of the request were skipped; warnings: {len(response['warnings'])}", err=True)


@click.command()
@click.argument("user_id")
@click.option("--domain", help="The kind of ID: idfa, aaid, sha1udid, openudid, md5udid. Without it: a platform user.")
@with_client()
def get(client: Client, user_id: str, domain: str | None) -> None:
    """Show the memberships of a user as a table."""
    params = {"user_id": user_id} | ({"domain": domain} if domain else {})
    (user,) = client.call("GET", "/rt-segment", params=params)["rt_segment"]
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
