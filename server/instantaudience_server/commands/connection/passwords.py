"""Reads passwords from a terminal, without echo, or from standard input."""

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
    """Read a password: prompt for it as `what`, twice if it is new, or read a line of standard input.

    Raises:
        click.ClickException: standard input is not valid text, or its next line is empty or missing.
    """
    if from_stdin:
        return _line_of_stdin()
    password: str = click.prompt(what, hide_input=True, confirmation_prompt=new, err=True)
    return password


def check_readable(value: str, where: str) -> None:
    """Check that a value is valid text: Python decodes bytes that are not in the terminal's encoding as lone
    surrogates.

    Raises:
        click.ClickException: it is not.
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
    if not line:
        raise click.ClickException("standard input has an empty line, or none, where a password is needed")
    check_readable(line, "standard input")
    return line
