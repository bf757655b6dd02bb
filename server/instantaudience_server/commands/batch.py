"""`batch`: sends files of memberships and shows their jobs."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
from rich.progress import Progress, TaskID, TimeElapsedColumn

from instantaudience_server.commands.connection.answers import AwayError, and_so
from instantaudience_server.commands.connection.client import Client
from instantaudience_server.commands.connection.options import member_option, with_client
from instantaudience_server.commands.endings import end_as_by_ctrl_c
from instantaudience_server.commands.printing.as_json import print_json, rest_json_option
from instantaudience_server.commands.printing.progress import progress_bar
from instantaudience_server.commands.printing.statuses import FAILED, PARTIAL, explained, failing_is_two
from instantaudience_server.commands.printing.tables import harmless, print_table
from instantaudience_server.commands.typed import text

PIECE_BYTES = 2**18
LOOK_SECONDS = 0.5
"""Interval between requests for a job's progress."""
PATIENCE_SECONDS = 60.0
"""How long the service may be unavailable while a job is followed."""
TERM = "batch_segment_upload_job"

_COUNTERS = {
    "num_valid": "taken",
    "num_valid_user": "users",
    "num_invalid_user": "no users",
    "num_invalid_format": "unreadable",
    "num_invalid_timestamp": "bad times",
    "num_invalid_segment": "no segments",
    "num_unauth_segment": "not allowed",
    "num_inactive_segment": "inactive",
    "num_past_expiration": "over",
    "num_other_error": "other",
}
"""Field of a job → heading."""
_FAULTS = tuple(name for name in _COUNTERS if name not in ("num_valid", "num_valid_user"))


@click.group()
def batch() -> None:
    """Send files of memberships, and show what became of them."""


@batch.command()
@click.argument(
    "files", metavar="FILE…", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False)
)
@member_option
@rest_json_option
@failing_is_two
@with_client()
def send(client: Client, files: tuple[Path, ...], member_id: int | None, as_json: bool) -> None:
    """Send files, wait until they are applied, and show what was taken.

    The exit status is 0 where all was taken, 1 where something was not, 2 where a file was not applied to its end.
    """
    for file in files:
        if not file.is_file():
            raise click.BadParameter(f"{file} is no file", param_hint="FILE…")
    sent: dict[str, str] = {}
    end_as_by_ctrl_c()  # what was sent is told
    with progress_bar(TimeElapsedColumn()) as progress:
        try:
            with explained():
                ids = [_upload(client, file, member_id, progress, sent) for file in files]
                jobs = [_followed(client, job_id, file, progress) for file, job_id in zip(files, ids, strict=True)]
        except (KeyboardInterrupt, click.ClickException) as error:
            why = error.message if isinstance(error, click.ClickException) else "interrupted"
            shows = [f"{file} applied all the same: `instant-audience batch show {job}`" for job, file in sent.items()]
            raise click.ClickException(and_so(why, *shows)) from None
    if as_json:
        print_json(jobs)
    else:
        _show_jobs("files", jobs, [file.name for file in files])
        for file, job in zip(files, jobs, strict=True):
            for line in filter(None, job["error_log_lines"].split("\n")):
                click.echo(f"{file.name}: {harmless(line)}", err=True)
    if any(job["phase"] != "completed" for job in jobs):
        sys.exit(FAILED)
    if any(job[name] for job in jobs for name in _FAULTS):
        sys.exit(PARTIAL)


@batch.command("list")
@member_option
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="The most jobs to list.")
@rest_json_option
@with_client()
def list_jobs(client: Client, member_id: int | None, limit: int, as_json: bool) -> None:
    """List a member's jobs, the newest first."""
    params = _of_member(member_id) | {"num_elements": limit}
    jobs = client.call("GET", "/batch-segment", params=params)[TERM]
    if as_json:
        print_json(jobs)
    else:
        _show_jobs(f"jobs: {len(jobs):,}", jobs, [job["job_id"] for job in jobs])


@batch.command()
@click.argument("job_id", metavar="JOB", type=text)
@rest_json_option
@with_client()
def show(client: Client, job_id: str, as_json: bool) -> None:
    """Show a job, with the lines that were not taken."""
    if not job_id:  # the call would list jobs
        raise click.BadParameter("it is empty", param_hint="JOB")
    job = _job(client, job_id)
    if as_json:
        print_json(job)
        return
    lines = {name: job.pop(name) for name in ("error_log_lines", "segment_log_lines")}
    print_table(f"job {job_id}", ("field", "value"), sorted(job.items()))
    for found in filter(None, lines.values()):
        click.echo(harmless(found))


def _of_member(member_id: int | None) -> dict[str, int]:
    return {} if member_id is None else {"member_id": member_id}


def _job(client: Client, job_id: str) -> dict[str, Any]:
    found = client.call("GET", "/batch-segment", params={"job_id": job_id})[TERM]
    job: dict[str, Any] = found[0] if isinstance(found, list) else found
    return job


def _upload(client: Client, file: Path, member_id: int | None, progress: Progress, sent: dict[str, str]) -> str:
    """Upload a file; returns the ID of its job. Once the upload has been sent, `sent` tells, by job ID, whether the
    file is or may be applied."""
    created = client.call("POST", "/batch-segment", params=_of_member(member_id))[TERM]
    job_id: str = created["job_id"]
    task = progress.add_task(f"{file.name}: upload", total=max(1, file.stat().st_size))

    def pieces() -> Iterator[bytes]:
        yield from _pieces(file, progress, task)
        sent[job_id] = f"{file.name} may be"

    try:
        client.upload(urlsplit(created["upload_url"]).path, pieces())
    except AwayError:
        raise
    except click.ClickException:  # it was refused
        sent.pop(job_id, None)
        raise
    sent[job_id] = f"{file.name} is"
    progress.update(task, completed=max(1, file.stat().st_size))
    return job_id


def _pieces(file: Path, progress: Progress, task: TaskID) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while piece := opened.read(PIECE_BYTES):
            yield piece
            progress.advance(task, len(piece))


def _followed(client: Client, job_id: str, file: Path, progress: Progress) -> dict[str, Any]:
    """Wait for a job to end; returns it.

    Raises:
        AwayError: the service was unavailable for too long.
    """
    task = progress.add_task(f"{file.name}: job", total=100)
    answered = time.monotonic()
    while True:
        pause = LOOK_SECONDS
        try:
            job = _job(client, job_id)
        except AwayError as error:
            pause = max(pause, error.retry_seconds)
            if time.monotonic() + pause >= answered + PATIENCE_SECONDS:
                raise
        else:
            answered = time.monotonic()
            progress.update(task, completed=job["percent_complete"])
            if job["phase"] in ("completed", "error"):
                return job
        time.sleep(pause)


def _show_jobs(title: str, jobs: list[dict[str, Any]], names: list[str]) -> None:
    """Print a table of jobs, without counters that are 0 in all of them."""
    counters = [name for name in _COUNTERS if name == "num_valid" or any(job[name] for job in jobs)]
    headings = ("name", "phase", "%", "created", *(_COUNTERS[name] for name in counters))
    rows = [
        (
            name,
            job["error_code"] or job["phase"],
            job["percent_complete"],
            job["created_on"],
            *(f"{job[each]:,}" for each in counters),
        )
        for name, job in zip(names, jobs, strict=True)
    ]
    print_table(title, headings, rows)
