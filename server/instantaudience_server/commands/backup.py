"""`backup` and `restore`: the contents of the cluster, written to a file and restored from one."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import click
import structlog
from rich.progress import TimeElapsedColumn

from instantaudience_server.backup.connection import Connection, connected
from instantaudience_server.backup.file import BackupError
from instantaudience_server.backup.putting_back import put_back
from instantaudience_server.backup.taking import take
from instantaudience_server.commands.endings import ending_signals
from instantaudience_server.commands.printing.as_json import json_option, print_json
from instantaudience_server.commands.printing.progress import progress_bar
from instantaudience_server.commands.settings_options import config_option, data_dir_option, option, read_settings
from instantaudience_server.commands.typed import PathType
from instantaudience_server.embedded.data_dir import NoClusterError, cluster_url
from instantaudience_server.errors import AudienceError, RefusedCommandError
from instantaudience_server.process.clock import SystemClock, written_time
from instantaudience_server.process.threads import Progress
from instantaudience_server.settings import Settings
from instantaudience_server.store.cluster.topology import StoreUnusableError

Work = Callable[[Connection, Progress], Awaitable[dict[str, Any]]]

_cluster_options = (
    config_option,
    option(
        "--redis", "The cluster; without it, the embedded one in --data-dir, while its service runs.", metavar="URL"
    ),
    data_dir_option,
    option("--durability", "What has taken a write before it counts as put back: primary, replica, disk."),
    json_option(),
)


def _with_cluster(command: Callable[..., None]) -> Callable[..., None]:
    for each in reversed(_cluster_options):
        command = each(command)
    return command


@click.command(short_help="Write what the cluster holds into a file.")
@click.argument("file", type=PathType(path_type=Path, dir_okay=False))
@_with_cluster
def backup(file: Path, as_json: bool, **options: Any) -> None:
    """Write memberships, suppressions, external IDs, reports and the catalog to FILE, while the service runs.

    FILE holds user IDs and hashes of passwords: only you can read it, and it should stay so.
    """
    if str(file) == "-":
        raise click.UsageError(
            "a backup has its name when it is whole, so it cannot go to standard output: name a file"
        )

    async def work(connection: Connection, told: Progress) -> dict[str, Any]:
        return await take(connection, file, SystemClock(), told)

    _run(options, "backup", file, work, left=f"{file} was not written", as_json=as_json)


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option(
    "--overwrite", is_flag=True, help="Although the cluster has a catalog: what FILE has replaces what is there."
)
@_with_cluster
def restore(file: Path, overwrite: bool, as_json: bool, **options: Any) -> None:
    """Put a backup into a cluster: an empty one, of any shape. What has ended meanwhile stays out.

    The whole file is checked before anything is written. Cut short, run it again.
    """

    async def work(connection: Connection, told: Progress) -> dict[str, Any]:
        return await put_back(connection, file, SystemClock(), told, over=overwrite)

    left = "what it has put back stays in the cluster: run it again"
    _run(options, "restore", file, work, left=left, as_json=as_json)


def _run(options: dict[str, Any], what: str, file: Path, work: Work, *, left: str, as_json: bool) -> None:
    """Do the work and print what it did. `left` says what an interruption leaves behind."""
    settings = read_settings(options)
    try:
        url = cluster_url(settings.redis, settings.data_dir)
    except NoClusterError as error:
        raise click.UsageError(f"set INSTANT_AUDIENCE_REDIS, or --data-dir: {error}") from error
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    with progress_bar(TimeElapsedColumn()) as progress:
        task = progress.add_task(what, total=None)
        try:
            did = asyncio.run(
                _work(url, settings, work, lambda done, of: progress.update(task, completed=done, total=of))
            )
        except (KeyboardInterrupt, asyncio.CancelledError) as error:
            raise click.ClickException(f"interrupted; {left}") from error
        except (BackupError, StoreUnusableError) as error:
            raise click.ClickException(str(error)) from error
        except AudienceError as error:
            where = ", ".join(error.nodes) or error.message
            raise click.ClickException(f"a part of the cluster is away, or takes no writes: {where}") from error
        except RefusedCommandError as error:
            mend = error.mend("docs/deployment.md has the rights that it takes")
            raise click.ClickException(f"{error}; {mend}") from error
        except OSError as error:
            raise click.ClickException(f"{error.filename or file}: {error.strerror or error}") from error
    if as_json:
        print_json(did)
        return
    for name, value in did.items():
        shown = written_time(value // 1000) if name.endswith("_ms") else f"{value:,}"
        click.echo(f"{name.removesuffix('_ms').replace('_', ' '):<24}{shown:>20}")


async def _work(url: str, settings: Settings, work: Work, told: Progress) -> dict[str, Any]:
    _cancelled_when_ended()
    async with connected(url, settings) as connection:
        return await work(connection, told)


def _cancelled_when_ended() -> None:
    """Have the signals that end commands cancel the current task, as asyncio has Ctrl-C do: they would end the process
    at once, and leave a part of a backup, or a lease that keeps the next restore out."""
    task = asyncio.current_task()
    if task is None or threading.current_thread() is not threading.main_thread():  # where no signals come
        return
    for number in ending_signals():
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
