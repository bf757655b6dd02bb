"""`user`: the commands for all objects of the catalog, and those for passwords, tokens and keys."""

from collections.abc import Mapping
from typing import Any

import click
from instantaudience.v1 import catalog_pb2 as pb

from instantaudience_server.commands.connection.client import Client, user_id_in
from instantaudience_server.commands.connection.options import with_client
from instantaudience_server.commands.connection.passwords import read_password, stdin_option
from instantaudience_server.commands.objects.commands import add_command, object_commands
from instantaudience_server.commands.objects.fields import USER
from instantaudience_server.commands.objects.public_keys import key
from instantaudience_server.commands.typed import number

user = object_commands(USER)
_user_argument = click.argument("user_id", metavar="[ID]", type=number, default="0")


def _complete(request: pb.CreateUserRequest, given: Mapping[str, Any]) -> None:
    request.password = read_password("Password of the new user", from_stdin=given["password_stdin"], new=True)


user.add_command(key)
user.add_command(add_command(USER, ("username", "member_id"), (stdin_option,), _complete))


@user.command("password")
@_user_argument
@stdin_option
@with_client("admin")
def change_password(client: Client, user_id: int, password_stdin: bool) -> None:
    """Change the password of a user, and revoke its tokens. Without ID: one's own. For that, the old one is needed.

    From standard input come the old one, if it is needed, and the new one, each on a line.
    """
    request = pb.ChangePasswordRequest(id=user_id)
    if not user_id or _is_own(client, user_id):
        request.current_password = read_password("Password until now", from_stdin=password_stdin)
    request.new_password = read_password("New password", from_stdin=password_stdin, new=True)
    client.catalog("ChangePassword", request)
    click.echo("the password is changed, and the tokens until now are revoked")


def _is_own(client: Client, user_id: int) -> bool:
    token = client.token()
    return token is not None and user_id_in(token) == user_id


@user.command("revoke")
@_user_argument
@with_client("admin")
def revoke(client: Client, user_id: int) -> None:
    """Revoke all tokens of a user. Without ID: one's own."""
    client.catalog("RevokeTokens", pb.RevokeTokensRequest(id=user_id))
    click.echo("the tokens until now are revoked")
