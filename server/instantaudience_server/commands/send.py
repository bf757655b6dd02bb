"""`send`: streams files of users to the service."""

import errno
import gc
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import instantaudience
from instantaudience.credentials import Credentials
from instantaudience.v1.audience_pb2 import StreamSegmentsRequest
from rich.progress import Progress, TextColumn, TimeRemainingColumn

from instantaudience_server.commands.connection.answers import and_so
from instantaudience_server.commands.connection.client import Client
from instantaudience_server.commands.connection.options import with_client
from instantaudience_server.commands.connection.reaching import endpoint_of, service_url
from instantaudience_server.commands.endings import end_as_by_ctrl_c
from instantaudience_server.commands.printing.as_json import json_option, print_json
from instantaudience_server.commands.printing.progress import Shown, progress_bar
from instantaudience_server.commands.printing.statuses import PARTIAL, failing_is_two
from instantaudience_server.sending.content import Content
from instantaudience_server.sending.csv_form import ColumnsError, CsvForm
from instantaudience_server.sending.csv_rows import NAMES
from instantaudience_server.sending.following import Following, Totals
from instantaudience_server.sending.forms import FORMS, read_batches
from instantaudience_server.sending.journal import STDIN, Journal, Way, rejects_kept, rejects_path
from instantaudience_server.sending.records import SourceError

PATIENCE_SECONDS = 60.0
"""How long the service may be unavailable while files are sent."""
MOST_BODY_BYTES = 65_536
"""A request of this size has no more memberships than a response has room for warnings (10,000), unless they are tiny:
see `following.LEFT_OUT`."""
WINDOW = 16
"""Requests in flight. The records that they were read from are kept in memory, for the rejects."""
MORE_OBJECTS = 100_000
"""Threshold of the garbage collector's youngest generation."""


def _columns(_context: click.Context, _parameter: click.Parameter, value: str) -> list[tuple[str, str]]:
    pairs = [tuple(map(str.strip, word.partition("=")[::2])) for word in value.split(",")] if value else []
    for name, _ in pairs:
        if name and name not in NAMES:
            raise click.BadParameter(f"there is no field {name}; the fields are {', '.join(NAMES)}")
    return pairs  # type: ignore[return-value]


def _delimiter(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    value = {"tab": "\t", "\\t": "\t"}.get(value, value)
    if len(value) != 1 or value in '"\r\n':
        raise click.BadParameter("it is one character, or tab")
    return value


@click.command()
@click.argument(
    "files",
    metavar="FILE…",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True),
)
@click.option("--format", "form", type=click.Choice(FORMS), help="What FILE holds. Without it: what it begins like.")
@click.option(
    "--columns",
    callback=_columns,
    default="",
    help="Which columns of CSV hold what: user_id=uid,seg_id=segment. With --no-header, the fields in their order: "
    "user_id,seg_id,,value has a third column that does not count.",
)
@click.option("--no-header", is_flag=True, help="The first line of CSV is no heading.")
@click.option(
    "--delimiter", callback=_delimiter, default=",", show_default=True, help="What stands between cells of CSV; or tab."
)
@click.option(
    "--rejects",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write what was refused. Without it: FILE.rejects.csv; of --dry-run, FILE.dry-run.rejects.csv.",
)
@click.option("--restart", is_flag=True, help="Send all, although an earlier run has come some way.")
@click.option("--dry-run", is_flag=True, help="Have the service check everything and change nothing.")
@json_option("Print the counts as JSON.")
@failing_is_two
@with_client()
def send(
    client: Client,
    files: tuple[Path, ...],
    form: str | None,
    columns: list[tuple[str, str]],
    no_header: bool,
    delimiter: str,
    rejects: Path | None,
    restart: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Put the users of files into segments, and take them out. - is standard input; gzip is seen by itself.

    NDJSON: a user a line, {"user_id": "1", "seg_block": [{"seg_id": 10001, "expiration": 1440}]}. JSON: an array of
    these, or a whole request of POST /rt-segment. CSV: a membership a line; its first line names the columns: user_id,
    domain, seg_id, seg_code, member_id, value, expiration.

    What was refused is written into FILE.rejects.csv, with line and reason. How far it has come stands in
    FILE.position until all files are sent: after an interruption, the same command goes on there.

    The exit status is 0 where all was taken, 1 where something was refused, 2 where not all was sent.
    """
    _check_files(files, rejects, is_dry=dry_run)
    csv_form = _csv_form(columns, no_header, delimiter)
    token = client.token()
    account = f"certificate {client.tls.cert}" if token is None else token.split(":")[1]
    way = Way(form, csv_form, rejects, dry_run, (client.url, account))
    if restart:
        _forget(way, files)
    end_as_by_ctrl_c()  # how far it has come is told
    # Existing objects stay alive, and new ones are nearly all freed by reference counting: collections would take a
    # quarter of the time that reading takes.
    gc.freeze()
    gc.set_threshold(MORE_OBJECTS)
    bar = progress_bar(TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    with bar as progress, _audience(client, token) as audience:
        done = [_sent(audience, file, way, progress) for file in files]
    _forget(way, files)
    if as_json:
        print_json([_fields(file, way, totals) for file, totals in done])
    else:
        for file, totals in done:
            click.echo(_line(file, way, totals))
    if any(totals.refused for _, totals in done):
        sys.exit(PARTIAL)


def _check_files(files: Sequence[Path], rejects: Path | None, *, is_dry: bool) -> None:
    """Check that each file can be sent, and has a path for its rejects.

    Raises:
        click.UsageError: one does not.
    """
    if rejects and len(files) > 1:
        raise click.UsageError("--rejects is for one FILE")
    if rejects and not os.access(rejects.parent, os.W_OK | os.X_OK):  # else the first one that is refused would tell
        raise click.UsageError(f"{rejects.parent} is no folder for --rejects, or nothing can be written there")
    sources = {file.resolve() for file in files if file != STDIN}
    for file in files:
        if file != STDIN and not file.is_file():
            raise click.UsageError(f"{file} is a pipe or device, which cannot be read twice: send it as - (`< {file}`)")
        path = rejects_path(rejects, file, is_dry=is_dry)
        if path.resolve() in sources:
            raise click.UsageError(f"{path} is to be sent: what is refused of {file} cannot replace it")
        if is_dry and path.resolve() == rejects_kept(file):
            raise click.UsageError(f"{path} has what was refused of {file} until now, and the next run goes on with it")
        if path.exists() and not path.is_file():
            raise click.UsageError(f"{path} is no file that what is refused of {file} may replace")


def _csv_form(columns: list[tuple[str, str]], no_header: bool, delimiter: str) -> CsvForm:
    with_names = [bool(theirs) for _, theirs in columns]
    if no_header:
        if not columns or any(with_names):
            raise click.UsageError("--no-header needs --columns with the fields in their order: user_id,seg_id,value")
        return CsvForm(delimiter, order=tuple(ours for ours, _ in columns))
    if not all(with_names):
        raise click.UsageError("--columns needs a column for each field: user_id=uid,seg_id=segment")
    return CsvForm(delimiter, columns=tuple(columns))


def _forget(way: Way, files: Iterable[Path]) -> None:
    for file in files:
        if (path := way.position_path(file)) is not None:
            path.unlink(missing_ok=True)


def _audience(client: Client, token: str | None) -> instantaudience.Client:
    """The Python client, signed in. Its requests are mostly small enough for a warning about each membership."""
    parts = service_url(client.url)
    endpoint = endpoint_of(parts)
    tls = None if parts.scheme == "http" else instantaudience.Tls(*client.tls.pem())
    options: dict[str, Any] = {"credentials": _credentials(client, token), "tls": tls, "plaintext": tls is None}
    try:
        with instantaudience.Client(endpoint, **options) as asking:
            limits = asking.limits()
    except (instantaudience.AudienceError, ValueError) as error:  # a host, too, that no endpoint has
        raise click.ClickException(str(error)) from error
    limits = replace(limits, body_bytes=min(limits.body_bytes, MOST_BODY_BYTES))
    return instantaudience.Client(endpoint, limits=limits, window=WINDOW, **options)


def _credentials(client: Client, token: str | None) -> Credentials:
    """Who calls: with this token, and where it ends in the middle of a file, with a new one if possible."""
    if token is None:
        return instantaudience.ClientCertificate()
    if (credentials := client.credentials) is None:
        return instantaudience.Token(token)
    return instantaudience.Password(*credentials, token)


def _sent(audience: instantaudience.Client, file: Path, way: Way, progress: Progress) -> tuple[Path, Totals]:
    """Send a file, or the rest of it."""
    try:
        with Content(None if file == STDIN else file) as content:
            journal = Journal(way, file, content)
            if journal.goes_on:
                click.echo(f"{content.name} goes on after line {journal.position.place.line:,}", err=True)
            following = Following(journal.rejects, journal.position.totals, journal.position.place)
            task = progress.add_task(content.name, total=content.size_bytes, rate="")
            try:
                if not journal.position.is_done:
                    _follow(audience, content, way, following, journal, Shown(progress, task, content, following))
            finally:
                journal.close()
            progress.update(task, completed=content.size_bytes)
            return file, following.totals
    except (SourceError, ColumnsError) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        is_kept_out = error.errno in (errno.EACCES, errno.EROFS) and file != STDIN
        hints = [f"where nothing can be written beside it, send it as - (`< {file}`)"] if is_kept_out else []
        raise click.ClickException(and_so(f"{error.filename or file}: {error.strerror or error}", *hints)) from error


def _follow(
    audience: instantaudience.Client,
    content: Content,
    way: Way,
    following: Following,
    journal: Journal,
    shown: Shown,
) -> None:
    requests = following.requests(read_batches(content, way.form, way.csv_form, following.place))
    try:
        for result in (_checked if way.is_dry else _applied)(audience, requests):
            following.take(result)
            journal.keep(following.place)
            shown.update()
    except (instantaudience.AudienceError, KeyboardInterrupt) as error:
        journal.keep(following.place, now=True)
        problem = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
        again = [] if journal.path is None else ["the same command goes on there"]
        reached = f"{content.name} was {'checked' if way.is_dry else 'sent'} up to line {following.place.line:,}"
        raise click.ClickException(and_so(problem, reached, *again)) from error
    following.finish()
    journal.keep(following.place, now=True, is_done=following.failure is None)
    if following.failure is not None:
        raise following.failure


def _applied(
    audience: instantaudience.Client, requests: Iterator[StreamSegmentsRequest]
) -> Iterator[instantaudience.StreamResult]:
    """Apply requests; yields the results."""
    return audience.stream_requests(requests, patience_seconds=PATIENCE_SECONDS)


def _checked(
    audience: instantaudience.Client, requests: Iterator[StreamSegmentsRequest]
) -> Iterator[instantaudience.StreamResult]:
    """Check requests without applying them; yields results as `_applied` does."""
    first = 0
    for request in requests:
        users = request.rt_segment
        result = audience.apply(users, validate_only=True, deadline_seconds=PATIENCE_SECONDS)
        for warning in result.warnings:
            user, closing, block = warning.path.removeprefix("rt_segment[").partition("]")
            warning.path = f"rt_segment[{int(user) + first}{closing}{block}" if user else ""
        yield instantaudience.StreamResult(first, len(users), False, result, None)
        first += len(users)


def _fields(file: Path, way: Way, totals: Totals) -> dict[str, Any]:
    rejects = click.format_filename(way.rejects_path(file)) if totals.refused else None
    return {"file": click.format_filename(file), **vars(totals), "rejects": rejects}


def _line(file: Path, way: Way, totals: Totals) -> str:
    what = "would be taken" if way.is_dry else "taken"
    text = f"{click.format_filename(file)}: {totals.memberships:,} memberships of {totals.users:,} users {what}"
    if totals.refused:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in totals.refused.most_common())
        text += f"; refused: {reasons}; see {click.format_filename(way.rejects_path(file))}"
    return text
