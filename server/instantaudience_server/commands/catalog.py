"""`catalog import` and `catalog export`: reads the catalog from a file, and writes it to one."""

import contextlib
import json
import os
import sys
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import click
from instantaudience.v1 import catalog_pb2 as pb
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

from instantaudience_server.catalog.files.file import (
    CatalogEntries,
    CatalogError,
    Entry,
    object_of,
    place_of,
    read_catalog,
    read_entries,
)
from instantaudience_server.catalog.files.file_entries import write_entry
from instantaudience_server.catalog.rules import MOST_IMPORTED
from instantaudience_server.commands.connection.answers import and_so
from instantaudience_server.commands.connection.client import Client
from instantaudience_server.commands.connection.options import with_client
from instantaudience_server.commands.endings import end_as_by_ctrl_c
from instantaudience_server.commands.printing.as_json import json_option
from instantaudience_server.commands.printing.progress import progress_bar

DASH = Path("-")
"""Stands for standard input or output."""
IMPORT_AGAIN = "import the file again for the others"
MOST_BYTES = 500_000
"""Approximate maximum size of a request; the service accepts 1 MB."""
PASSWORD_BYTES = MOST_BYTES // 10
"""What a plain password counts as: the service needs some 50 ms to hash it."""

Failed = dict[int, tuple[Entry, str]]
"""Entries that could not be imported, with the reason, by their position in the file."""


@dataclass(frozen=True)
class Batch:
    """The content of a request: entries of one list, with their positions in the file."""

    list_name: str
    entries: Sequence[tuple[int, Entry]]

    def request(self) -> pb.ImportCatalogRequest:
        """The request message."""
        request = pb.ImportCatalogRequest()
        getattr(request, self.list_name).extend(entry for _, entry in self.entries)
        return request

    def entry(self, path: str) -> tuple[int, Entry]:
        """The entry at a path of the request, such as `segments[3]`."""
        return self.entries[int(path.partition("[")[2].partition("]")[0])]


def batches(list_name: str, entries: Iterable[tuple[int, Entry]]) -> Iterator[Batch]:
    """Divide the entries of a list into requests."""
    batch: list[tuple[int, Entry]] = []
    size = 0
    for position, entry in entries:
        batch.append((position, entry))
        size += PASSWORD_BYTES if isinstance(entry, pb.ImportedUser) and entry.password else entry.ByteSize()
        if len(batch) == MOST_IMPORTED or size >= MOST_BYTES:
            yield Batch(list_name, batch)
            batch, size = [], 0
    if batch:
        yield Batch(list_name, batch)


class Import:
    """Imports a file's entries, and counts the results."""

    def __init__(self) -> None:
        self.created = self.changed = self.unchanged = 0
        self.problems: list[str] = []

    @property
    def put(self) -> int:
        """How many entries the service has answered that it has."""
        return self.created + self.changed + self.unchanged

    def run(self, client: Client, entries: CatalogEntries) -> Iterator[int]:
        """Import everything; yields how many more entries are finished."""
        for list_name, entries_of_list in entries.lists.items():
            failed = yield from self._put(client, batches(list_name, enumerate(entries_of_list)))
            # An entry may succeed once others have been imported: the member that it refers to came in a later request,
            # or the code or user name that it takes was given up by a later entry.
            while failed:
                left = [(position, entry) for position, (entry, _) in failed.items()]
                failed = yield from self._put(client, batches(list_name, left))
                if len(failed) == len(left):
                    break
            for position, (entry, text) in sorted(failed.items()):
                self.problems.append(f"{place_of(list_name, position, object_of(entry).id)}: {text}")
            yield len(failed)

    def _put(self, client: Client, to_send: Iterator[Batch]) -> Generator[int, None, Failed]:
        """Import entries of one list; yields how many more were imported, and returns those that were not."""
        sent: deque[Batch] = deque()
        failed: Failed = {}

        def requests() -> Iterator[pb.ImportCatalogRequest]:
            for batch in to_send:
                sent.append(batch)
                yield batch.request()

        for answer in client.import_catalog(requests()):
            batch = sent.popleft()
            self.created += answer.created
            self.changed += answer.changed
            self.unchanged += answer.unchanged
            for problem in answer.problems:
                position, entry = batch.entry(problem.path)
                failed[position] = entry, problem.message
            yield len(batch.entries) - len(answer.problems)
        return failed


@click.group()
def catalog() -> None:
    """Import the catalog from a file, or export it to one."""


@catalog.command("import", short_help="Put a file into the catalog: what is missing, and what differs.")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True))
@json_option("Print the counts and problems as JSON.")
@with_client("admin")
def import_file(client: Client, file: Path, as_json: bool) -> None:
    """Create the members, users and segments of the YAML file FILE (- for standard input) that are missing, and change
    those that differ.

    Nothing is removed. Importing the same file again changes nothing. The exit status is 1 if entries could not be put.
    """
    end_as_by_ctrl_c()  # how far it has come is told
    done = Import()
    with progress_bar(MofNCompleteColumn(), TimeRemainingColumn(), transient=True) as progress:
        entries = _read(file, progress)
        task = progress.add_task("importing", total=entries.size)
        try:
            for count in done.run(client, entries):
                progress.advance(task, count)
        except click.ClickException as error:
            _tell_problems(file, done)
            again = [f"{done.put} of {entries.size} entries were put", IMPORT_AGAIN] if done.put else []
            raise click.ClickException(and_so(error.message, *again)) from error
        except KeyboardInterrupt as error:
            _tell_problems(file, done)
            far = f"{done.put} of {entries.size} entries were put for certain"
            raise click.ClickException(f"interrupted; {far}; {IMPORT_AGAIN}") from error
    _tell_problems(file, done)
    counts = {"created": done.created, "changed": done.changed, "unchanged": done.unchanged}
    if as_json:
        click.echo(json.dumps(counts | {"problems": done.problems}, ensure_ascii=False))
    else:
        click.echo(", ".join(f"{name} {count}" for name, count in counts.items()))
    if done.problems:
        sys.exit(1)


@catalog.command("export", short_help="Write the whole catalog into a file.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True), default="-")
@with_client("admin")
def export_file(client: Client, file: Path) -> None:
    """Write the whole catalog as YAML into FILE (standard output without one), for `import`.

    Passwords are not in it: users that are imported elsewhere need one added.
    """
    lists = (
        ("members", "ListMembers", pb.ListMembersRequest()),
        ("users", "ListUsers", pb.ListUsersRequest()),
        ("segments", "ListSegments", pb.ListSegmentsRequest()),
    )
    end_as_by_ctrl_c()  # no part of a file is left
    try:
        with whole(file) as output:
            for name, method, request in lists:
                heading = f"{name}:\n"
                for message in client.pages(method, request, name):
                    output.write(heading + write_entry(message))
                    heading = ""
    except KeyboardInterrupt as error:
        if file == DASH:
            raise
        raise click.ClickException(f"interrupted; {file} was not written") from error


@contextlib.contextmanager
def whole(file: Path) -> Iterator[IO[str]]:
    """Open a file for writing that replaces `file` once it is complete; an interruption leaves the old one. Standard
    output (`-`) and special files are written directly.

    Raises:
        click.ClickException: it cannot be written.
    """
    if file == DASH:
        with click.open_file("-", "w", encoding="utf-8") as output:
            yield output
        return
    file = file.resolve()
    is_special = file.exists() and not file.is_file()
    draft = file if is_special else file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with draft.open("w", encoding="utf-8") as output:
            yield output
        if not is_special:
            if file.exists():
                draft.chmod(file.stat().st_mode)
            draft.replace(file)
    except OSError as error:
        raise click.ClickException(f"{file}: {error.strerror}") from error
    finally:
        if not is_special:
            with contextlib.suppress(OSError):  # there is none
                draft.unlink()


def _read(file: Path, progress: Progress) -> CatalogEntries:
    task = progress.add_task("reading", total=None)

    def tell(done: int, size: int) -> None:
        progress.update(task, completed=done, total=size)

    try:
        if file == DASH:
            return read_entries(sys.stdin.buffer, _name(file), complete=False, progress=tell)
        return read_catalog(file, complete=False, progress=tell)
    except CatalogError as error:
        raise click.ClickException(str(error)) from error
    finally:
        progress.remove_task(task)


def _name(file: Path) -> str:
    return "standard input" if file == DASH else str(file)


def _tell_problems(file: Path, done: Import) -> None:
    for problem in done.problems:
        click.echo(f"{_name(file)}: {problem}", err=True)
