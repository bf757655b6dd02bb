"""The command `instant-audience`, and the modules of its subcommands."""

import os
import signal
import sys
from importlib import import_module
from typing import Any

import click

from instantaudience_server.commands.printing.statuses import FailedError, explained
from instantaudience_server.process.lean_imports import UNUSED, UNUSED_BY_PROCESSES, lean_imports

WHERE = {
    "apply": "calls",
    "backup": "backup",
    "batch": "batch",
    "catalog": "catalog",
    "doctor": "doctor",
    "get": "calls",
    "login": "login",
    "logout": "login",
    "member": "objects.commands",
    "report": "report",
    "restore": "backup",
    "segment": "objects.commands",
    "send": "send",
    "serve": "serve",
    "user": "objects.accounts",
    "user-data": "privacy",
}
"""Subcommand → module of this package."""
SENDING = (["send"], ["batch", "send"])
"""Subcommands whose exit status is FAILED if they are interrupted."""


class _Subcommands(click.Group):
    """Imports subcommands lazily: importing all of them takes longer than most commands run
    (https://click.palletsprojects.com/en/stable/complex/#lazily-loading-subcommands)."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(WHERE)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in WHERE:
            return None
        with lean_imports(UNUSED_BY_PROCESSES if cmd_name == "serve" else UNUSED):
            module = import_module(f"{__package__}.{WHERE[cmd_name]}")
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # see __main__
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As usual; a Ctrl-C that was held back during start-up ends the command here in the same way as later."""
        try:
            return super().resolve_command(ctx, args)
        except KeyboardInterrupt as error:
            if any(args[: len(words)] == words for words in SENDING):
                raise FailedError("interrupted") from error
            raise

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        """As usual; reports I/O errors (of `--help`, for instance) in one line."""
        _fill_streams()
        with explained():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """As usual; reports I/O errors in one line, including those of flushing the output."""
        with explained():
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result


CONTEXT = {
    "help_option_names": ["-h", "--help"],
    "max_content_width": 120,
    # https://no-color.org; a dumb terminal shows the codes as text
    "color": False if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else None,
}


@click.group(cls=_Subcommands, context_settings=CONTEXT)
@click.version_option(package_name="instant-audience")
def main() -> None:
    """Instant Audience: puts users into audience segments, and takes them out, in milliseconds."""


def _fill_streams() -> None:
    """Open replacements for standard streams that the caller has closed. Writing to the replacement of standard output
    fails, as on a full disk, since the output would be lost."""
    for name, flags in (("stdin", os.O_RDONLY), ("stdout", os.O_RDONLY), ("stderr", os.O_WRONLY)):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, flags)
            os.set_inheritable(opened, True)
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, os.fdopen(opened, mode, encoding="utf-8"))
