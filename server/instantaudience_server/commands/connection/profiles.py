"""Profiles: services that the user has signed in to, with tokens, stored in files that only their owner can read."""

import json
import os
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

import click
from instantaudience.rules import TOKEN_CHARACTERS

from instantaudience_server.commands.connection.tls import Tls
from instantaudience_server.process import private_files

DEFAULT = "default"
"""The profile that is used if none is named."""


@dataclass(frozen=True)
class Profile:
    """A sign-in: the service, the user, the token, and the TLS files."""

    url: str
    username: str
    token: str = field(repr=False)
    tls: Tls = field(default_factory=Tls)


class DamagedProfileError(click.ClickException):
    """The file of a profile does not contain one, or cannot be read; `problem` says so, the message what helps, too."""

    def __init__(self, problem: str, again: str) -> None:
        super().__init__(f"{problem}: sign in again with `{again}`")
        self.problem = problem


def may_be_token(text: str) -> bool:
    """Whether calls can have a text as their token."""
    return 0 < len(text) <= TOKEN_CHARACTERS and text.isascii() and text.isprintable() and text == text.strip()


def profile_name(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Validate a profile's name, which becomes a file name."""
    if value is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", value):
        raise click.BadParameter("a profile's name has letters, digits, _, . and -, 64 at most")
    return value


def read_profile(name: str) -> Profile | None:
    """Read a profile; None if there is none with this name.

    Raises:
        DamagedProfileError: its file does not contain a profile, or cannot be read.
        click.ClickException: something else than a file is in its place.
    """
    path = _path(name)
    again = "instant-audience login" + (f" --profile {name}" if name != DEFAULT else "")
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        files = {what: Path(file) for what, file in read.get("tls", {}).items() if file is not None}
        token = str(read["token"])
        if not may_be_token(token):
            raise ValueError("this is no token")
        return Profile(str(read["url"]), str(read["username"]), token, Tls(**files))
    except FileNotFoundError:
        return None
    except (IsADirectoryError, NotADirectoryError) as error:
        raise click.ClickException(f"{path}: {error.strerror}; move away what is in its place") from error
    except OSError as error:
        raise DamagedProfileError(f"{path}: {error.strerror}", again) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DamagedProfileError(f"{path} is no profile", again) from None


def write_profile(name: str, profile: Profile) -> None:
    """Store a profile in a file that only its owner can read.

    Raises:
        click.ClickException: it cannot be written.
    """
    path = _path(name)
    try:
        write_secret(path, json.dumps(asdict(profile), default=str))
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from error


def remove_profile(name: str) -> None:
    """Delete a profile, if it exists.

    Raises:
        click.ClickException: it cannot be deleted.
    """
    path = _path(name)
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise click.ClickException(f"{path} cannot be deleted: {error.strerror}") from error


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner can read; creates its directory.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    private_files.write(path, text)


def own_directory(variable: str, usual: str) -> Path:
    """The directory for this program's files in the one that the variable names or, if it is not set, in `usual` in the
    home directory (https://specifications.freedesktop.org/basedir-spec/latest/).

    Raises:
        click.ClickException: there is no home directory.
    """
    try:
        return Path(os.environ.get(variable) or Path.home() / usual) / "instant-audience"
    except RuntimeError:
        raise click.ClickException(f"there is no home directory: set HOME, or {variable}") from None


def _path(name: str) -> Path:
    """The path of a profile's file."""
    return own_directory("XDG_CONFIG_HOME", ".config") / "profiles" / f"{name}.json"
