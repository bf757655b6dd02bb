"""Options for settings: each has the same flag, environment variable and file key in every command."""

import enum
import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from pydantic import ValidationError

from instantaudience_server.commands.typed import PathType
from instantaudience_server.settings import Settings

URLS = ("redis", "batch_store", "traces_endpoint")
"""Settings that may contain a password."""
NOT_NOTHING = {
    "redis": "the embedded cluster",
    "durability": "writes that the primary alone has taken",
    "batch_store": "a folder in --data-dir",
    "client_ca": "callers without certificates",
    "client_crl": "callers whose certificates nobody has revoked",
}
"""What would silently be used if the variable of a setting is empty: Click treats it as unset."""
FORMS = {
    "allowed_origins": "must be origins as browsers write them, with commas between: https://app.example.com",
    "public_url": "must be a scheme and a host alone: https://audience.example.com",
    "location": "must be 1 to 32 of the characters a-z, 0-9 and -",
    "traces_endpoint": "must be a URL: http://collector:4318",
}
"""Descriptions of the patterns of settings."""
CREDENTIALS_IN_URL = r"://[^/]*:[^/@]+@|[?&]password="


FILE = PathType(path_type=Path)


def _load_file(context: click.Context, _: click.Parameter, path: Path | None) -> None:
    """Load the settings file into the defaults of the other options."""
    if path is None:
        return
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise click.BadParameter(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"{path}: it is no text in UTF-8") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise click.BadParameter(f"{path}: {error}") from error
    unknown = settings.keys() - Settings.model_fields.keys()
    if unknown:
        raise click.BadParameter(f"{path}: unknown settings: {', '.join(sorted(unknown))}")
    for name, value in settings.items():
        if not isinstance(value, str | int | float):
            raise click.BadParameter(f"{path}: {name} must be a text, a number, true or false")
    # As strings, like flags: Click would truncate a float for an integer option.
    context.default_map = {name: str(value) for name, value in settings.items()}


config_option = click.option(
    "--config",
    type=FILE,
    is_eager=True,
    expose_value=False,
    callback=_load_file,
    envvar="INSTANT_AUDIENCE_CONFIG",
    show_envvar=True,
    help="A TOML file with settings: names as those of flags, with _ for -. Flags and environment come first.",
)


def _variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"INSTANT_AUDIENCE_{name.upper()}"


def option(flag: str, description: str, **kwargs: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The Click option of a setting."""
    name = flag.removeprefix("--").replace("-", "_")
    default = Settings.model_fields[name].default
    if isinstance(default, enum.Enum):
        default = default.value  # as it can be written; Click shows an enum's name
    if default not in (None, ""):
        kwargs.setdefault("show_default", True)
    return click.option(
        flag,
        help=description,
        default=default,
        envvar=_variable(name),
        show_envvar=True,
        **kwargs,
    )


# With a cluster of one's own, the directory is not needed, so it may be unreadable; code that needs it reports that.
data_dir_option = option(
    "--data-dir",
    "Where the embedded cluster keeps its data.",
    type=PathType(path_type=Path, readable=False),
    metavar="DIR",
)


def read_settings(options: dict[str, Any]) -> Settings:
    """The settings from the options.

    Raises:
        click.UsageError: one is invalid, or a password is on the command line, which every account of the machine can
            read.
    """
    source_of = click.get_current_context().get_parameter_source
    for name, otherwise in NOT_NOTHING.items():
        if source_of(name) is ParameterSource.DEFAULT and (variable := _variable(name)) in os.environ:
            raise click.UsageError(f"{variable} is set to nothing: unset it for {otherwise}")
    for name in URLS:
        typed = source_of(name) is ParameterSource.COMMANDLINE
        if typed and re.search(CREDENTIALS_IN_URL, options[name]):
            where = f"{_variable(name)} or --config FILE"
            raise click.UsageError(f"--{name.replace('_', '-')}: a URL with a password belongs into {where}")
    try:
        return Settings.model_validate(options)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = "".join(f"--{str(part).replace('_', '-')}: " for part in first["loc"])
        problem = first["msg"].removeprefix("Value error, ")
        if first["type"] == "string_pattern_mismatch":
            problem = FORMS[str(first["loc"][0])]
        raise click.UsageError(f"{place}{problem}") from error
