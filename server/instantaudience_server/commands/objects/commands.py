"""The commands `member` and `segment`, and what they share with `user`."""

import itertools
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import click
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from instantaudience.v1 import catalog_pb2 as pb

from instantaudience_server.commands.connection.client import Client
from instantaudience_server.commands.connection.options import with_client
from instantaudience_server.commands.objects.fields import MEMBER, SEGMENT, Decorator, Noun, word_of
from instantaudience_server.commands.printing.as_json import catalog_json_option, print_json
from instantaudience_server.commands.printing.tables import print_table
from instantaudience_server.commands.typed import number

PACKAGE = pb.DESCRIPTOR.package
NEVER_ANSWERED = "public_keys"
"""A field of users that responses never contain; `user key list` shows the keys."""

Complete = Callable[[Any, Mapping[str, Any]], None]

_etag_option = click.option("--etag", default="", help="Fail if the object no longer has this etag.")
_id_argument = click.argument("object_id", metavar="ID", type=number)


def object_commands(noun: Noun) -> click.Group:
    """The command group of a kind of object."""
    group = click.Group(noun.name, help=f"Add, list, show, change and remove {noun.name}s.")
    for command in (_list, _show, _set, _remove):
        group.add_command(command(noun))
    return group


def add_command(
    noun: Noun, required: Sequence[str] = (), options: Sequence[Decorator] = (), complete: Complete | None = None
) -> click.Command:
    """The `add` command, with options for the object's fields.

    `complete` may set further fields of the request; it gets the values of the additional `options`, by name.
    """

    @catalog_json_option
    @with_client("admin")
    def add(client: Client, as_json: bool, **given: Any) -> None:
        request = noun.request("Create")
        if not _put(noun, getattr(request, noun.name), given):
            raise click.UsageError("nothing to add: give at least one field")
        if complete:
            complete(request, given)
        _print(noun, noun.call(client, "Create", request), as_json)

    for option in (
        *options,
        *(field.option(field.path in required) for field in reversed((*noun.first, *noun.fields))),
    ):
        add = option(add)
    return click.command("add", help=f"Add a {noun.name}.")(add)


def _list(noun: Noun) -> click.Command:
    @click.option("--limit", type=click.IntRange(min=1), help="The most objects to list, from the smallest ID on.")
    @catalog_json_option
    @with_client("admin")
    def show_list(client: Client, limit: int | None, as_json: bool, **given: Any) -> None:
        request = getattr(pb, f"List{noun.title}sRequest")()
        for field in noun.filters:
            if (value := given[field.parameter]) is not None:
                field.put(request, value)
        found = itertools.islice(client.pages(f"List{noun.title}s", request, f"{noun.name}s"), limit)
        if as_json:
            _print_array(found)
        else:
            rows = [[_list_cell(message, path) for path in noun.columns] for message in found]
            headings = [path.replace("_", " ") for path in noun.columns]
            print_table(f"{noun.name}s: {len(rows):,}", headings, rows)

    for field in reversed(noun.filters):
        show_list = field.option()(show_list)
    return click.command("list", help=f"List {noun.name}s, by ID.")(show_list)


def _show(noun: Noun) -> click.Command:
    @click.command("show", help=f"Show a {noun.name}, with its etag.")
    @_id_argument
    @catalog_json_option
    @with_client("admin")
    def show(client: Client, object_id: int, as_json: bool) -> None:
        _print(noun, noun.call(client, "Get", noun.request("Get", id=object_id)), as_json)

    return show


def _set(noun: Noun) -> click.Command:
    paths = [field.path for field in noun.fields]

    @_id_argument
    @click.option(
        "--unset",
        multiple=True,
        metavar="FIELD",
        type=click.Choice(paths),
        help=f"Give one of these fields its default again, may be given several times: {', '.join(paths)}.",
    )
    @_etag_option
    @catalog_json_option
    @with_client("admin")
    def change(client: Client, object_id: int, unset: tuple[str, ...], etag: str, as_json: bool, **given: Any) -> None:
        request = noun.request("Update")
        message = getattr(request, noun.name)
        mask = _put(noun, message, given)
        if both := set(mask) & set(unset):
            raise click.UsageError(f"{', '.join(sorted(both))} cannot be set and unset at once")
        if not mask and not unset:
            raise click.UsageError("nothing to change: give at least one field")
        message.id, message.etag = object_id, etag
        request.update_mask.paths.extend([*mask, *unset])
        _print(noun, noun.call(client, "Update", request), as_json)

    for field in reversed(noun.fields):
        change = field.option()(change)
    return click.command("set", help=f"Change the given fields of a {noun.name}.")(change)


def _remove(noun: Noun) -> click.Command:
    @click.command("remove", help=f"Remove a {noun.name}.")
    @_id_argument
    @_etag_option
    @click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
    @with_client("admin")
    def remove(client: Client, object_id: int, etag: str, yes: bool) -> None:
        if not yes and sys.stdin.isatty():
            click.confirm(f"Remove {noun.name} {object_id}?", abort=True, err=True)
        noun.call(client, "Delete", noun.request("Delete", id=object_id, etag=etag))
        click.echo(f"removed {noun.name} {object_id}")

    return remove


def _put(noun: Noun, message: Any, given: Mapping[str, Any]) -> list[str]:
    """Set the fields that were given; returns their paths."""
    paths = []
    for field in (*noun.first, *noun.fields):
        if (value := given.get(field.parameter)) is not None:
            field.put(message, value)
            paths.append(field.path)
    return paths


def as_dict(message: Message) -> dict[str, Any]:
    """A message as protobuf JSON, with the names of the proto file, including fields with default values; enum values
    are in the words of the options."""
    fields = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    names = [field.name for field in message.DESCRIPTOR.fields if field.name != NEVER_ANSWERED]
    return {name: _in_words(fields[name], message.DESCRIPTOR.fields_by_name[name]) for name in names if name in fields}


def _in_words(value: Any, field: Any) -> Any:
    if field.enum_type is not None:
        return [word_of(each) for each in value] if isinstance(value, list) else word_of(value)
    if isinstance(value, dict) and field.message_type.file.package == PACKAGE:
        fields = field.message_type.fields_by_name
        return {name: _in_words(each, fields[name]) for name, each in value.items()}
    return value


def _print(noun: Noun, message: Message, as_json: bool) -> None:
    fields = as_dict(message)
    if as_json:
        print_json(fields)
        return
    limits = fields.pop("limits", {})
    fields |= {f"limits.{name}": value for name, value in limits.items()}
    rows = [(path, _cell(value)) for path, value in fields.items()]
    print_table(f"{noun.name} {fields['id']}", ("field", "value"), rows)


def _print_array(messages: Iterable[Message]) -> None:
    """Print a JSON array, one object per line, without holding all of them in memory."""
    before = "["
    for message in messages:
        click.echo(f"{before}\n{json.dumps(as_dict(message), ensure_ascii=False)}", nl=False)
        before = ","
    click.echo("[]" if before == "[" else "\n]")


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    return value


def _list_cell(message: Any, name: str) -> object:
    """A field of a message as a table cell; optimised for long lists."""
    field = message.DESCRIPTOR.fields_by_name[name]
    if field.has_presence and not message.HasField(name):
        return None
    value = getattr(message, name)
    if field.enum_type is not None:
        return word_of(field.enum_type.values_by_number[value].name)
    if isinstance(value, Timestamp):
        return f"{value.ToDatetime():%Y-%m-%d %H:%M}"
    return ", ".join(map(str, value)) if field.is_repeated else _cell(value)


member = object_commands(MEMBER)
member.add_command(add_command(MEMBER, ("name",)))
segment = object_commands(SEGMENT)
segment.add_command(add_command(SEGMENT))
