"""`user key`: the public keys that users sign in with."""

from typing import Any, TextIO

import click
from instantaudience.v1 import catalog_pb2 as pb

from instantaudience_server.commands.connection.client import Client
from instantaudience_server.commands.connection.options import with_client
from instantaudience_server.commands.objects.commands import as_dict
from instantaudience_server.commands.printing.as_json import catalog_json_option, print_json
from instantaudience_server.commands.printing.tables import print_table
from instantaudience_server.commands.typed import number, text
from instantaudience_server.process.clock import written_time

_user_option = click.option(
    "--user", "user_id", metavar="ID", type=number, default="0", help="The user. Default: one's own."
)
_key_argument = click.argument("key_id", metavar="KEY", type=number)


@click.group(short_help="The public keys that a user signs in with.")
def key() -> None:
    """Add, list, activate and deactivate the public keys that a user signs in with (POST /v2/auth/jwt)."""


@key.command("add")
@click.argument("file", type=click.File(encoding="utf-8"))
@click.option("--name", required=True, type=text, help="Its name: the `kid` of the JWTs that it signs.")
@_user_option
@with_client("admin")
def add(client: Client, file: TextIO, name: str, user_id: int) -> None:
    """Add the public key in a PEM file; `-` is standard input. RSA of 2048 bits or more, or P-256."""
    try:
        pem = file.read()
    except UnicodeDecodeError:
        raise click.ClickException("the file is no PEM text") from None
    added = client.catalog("AddPublicKey", pb.AddPublicKeyRequest(user_id=user_id, name=name, pem=pem)).public_key
    click.echo(f"added key {added.id}, {added.name}")


@key.command("list")
@_user_option
@catalog_json_option
@with_client("admin")
def show_list(client: Client, user_id: int, as_json: bool) -> None:
    """List a user's keys, oldest first."""
    found = client.catalog("ListPublicKeys", pb.ListPublicKeysRequest(user_id=user_id)).public_keys
    if as_json:
        print_json([as_dict(each) for each in found])
        return
    print_table(f"keys: {len(found)}", ("id", "name", "active", "created"), [_row(each) for each in found])


def _row(each: pb.PublicKey) -> tuple[Any, ...]:
    return each.id, each.name, "yes" if each.active else "no", written_time(each.create_time.seconds)


@key.command("deactivate")
@_key_argument
@_user_option
@with_client("admin")
def deactivate(client: Client, key_id: int, user_id: int) -> None:
    """Let nobody sign in with a key any more. Tokens stay valid: `user revoke` ends them."""
    _set_active(client, user_id, key_id, False)
    click.echo(f"deactivated key {key_id}")


@key.command("activate")
@_key_argument
@_user_option
@with_client("admin")
def activate(client: Client, key_id: int, user_id: int) -> None:
    """Let a key count again."""
    _set_active(client, user_id, key_id, True)
    click.echo(f"activated key {key_id}")


def _set_active(client: Client, user_id: int, key_id: int, active: bool) -> None:
    client.catalog("UpdatePublicKey", pb.UpdatePublicKeyRequest(user_id=user_id, key_id=key_id, active=active))
