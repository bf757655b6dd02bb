"""Progress bars."""

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TaskID, TaskProgressColumn, TextColumn

from instantaudience_server.sending.content import Content
from instantaudience_server.sending.following import Following


def progress_bar(*columns: ProgressColumn, transient: bool = False) -> Progress:
    """A progress bar with a percentage and additional columns on standard error, disabled if that is no terminal."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        *columns,
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=transient,
    )


class Shown:
    """The progress of a file that is sent."""

    def __init__(self, progress: Progress, task: TaskID, content: Content, following: Following) -> None:
        self._progress = progress
        self._task = task
        self._content = content
        self._following = following
        self._began = time.monotonic()
        self._before = following.totals.memberships

    def update(self) -> None:
        """Update the bar: position in the file, and memberships per second."""
        taken = self._following.totals.memberships - self._before
        rate = taken / max(0.001, time.monotonic() - self._began)
        done = self._content.done_bytes(self._following.place.offset)
        self._progress.update(self._task, completed=done, rate=f"{rate:,.0f}/s")
