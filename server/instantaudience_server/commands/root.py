"""The command `instant-audience`, and where its subcommands are."""

import os
import signal
import sys
from importlib import import_module
from typing import Any

import click

from instantaudience_server.commands.statuses import FailedError, explained

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
"""The module of this package that each subcommand is in."""
SENDING = (["send"], ["batch", "send"])
"""The subcommands that end with FAILED where they are interrupted."""


class _Subcommands(click.Group):
    """Reads only the subcommand that is asked for: all of them take longer than most do
    (https://click.palletsprojects.com/en/stable/complex/#lazily-loading-subcommands).
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(WHERE)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in WHERE:
            return None
        module = import_module(f"{__package__}.{WHERE[cmd_name]}")
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # see __main__
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Ctrl-C that has waited ends a command here as it does later on."""
        try:
            return super().resolve_command(ctx, args)
        except KeyboardInterrupt as error:
            if any(args[: len(words)] == words for words in SENDING):
                raise FailedError("interrupted") from error
            raise

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        """Whatever cannot be read or written ends a command with one line: here, `--help`."""
        _fill_streams()
        with explained():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """Likewise everything else, what is not yet written of the output too."""
        with explained():
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result


CONTEXT = {
    "help_option_names": ["-h", "--help"],
    "max_content_width": 120,
    "color": False if os.environ.get("NO_COLOR") else None,  # https://no-color.org
}


@click.group(cls=_Subcommands, context_settings=CONTEXT)
@click.version_option(package_name="instant-audience")
def main() -> None:
    """Instant Audience: puts users into audience segments, and takes them out, in milliseconds."""


def _fill_streams() -> None:
    """Have something where whoever called has closed a standard stream. What is written to the output fails, as on a
    full disk: who should have had it has not."""
    for name, flags in (("stdin", os.O_RDONLY), ("stdout", os.O_RDONLY), ("stderr", os.O_WRONLY)):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, flags)
            os.set_inheritable(opened, True)
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, os.fdopen(opened, mode, encoding="utf-8"))
