"""Passwords, which come from a terminal or from standard input, and are shown nowhere."""

import sys

import click

from instantaudience_server.commands.typed import text


def _from_stdin(_context: click.Context, _parameter: click.Parameter, given: bool) -> bool:
    if not given and not sys.stdin.isatty():
        raise click.UsageError("standard input is no terminal to ask for the password: use --password-stdin")
    return given


stdin_option = click.option(
    "--password-stdin",
    is_flag=True,
    callback=_from_stdin,
    help="Read the password from standard input, rather than ask for it.",
)


def read_password(what: str, *, from_stdin: bool, new: bool = False) -> str:
    """A password, which is asked for as `what`, and twice where it is new.

    Raises:
        click.ClickException: what comes on standard input is no text.
    """
    if from_stdin:
        return _line_of_stdin()
    password: str = click.prompt(what, hide_input=True, confirmation_prompt=new, err=True)
    return password


def check_readable(value: str, where: str) -> None:
    """Bytes that are not in the terminal's encoding are kept as halves of characters.

    Raises:
        click.ClickException: there are some.
    """
    try:
        text(value)
    except click.BadParameter as error:
        raise click.ClickException(f"{where}: {error.message}") from None


def _line_of_stdin() -> str:
    try:
        line = sys.stdin.readline().rstrip("\r\n")
    except UnicodeDecodeError:
        raise click.ClickException("standard input is no readable text") from None
    check_readable(line, "standard input")
    return line
