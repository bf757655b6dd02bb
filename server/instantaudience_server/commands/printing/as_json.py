"""JSON output for programs."""

import json
from collections.abc import Callable
from typing import Any

import click


def json_option(help_text: str = "Print JSON.") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option `--json`, which becomes the parameter `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help=help_text)


catalog_json_option = json_option("Print JSON, with the names of catalog.proto.")
rest_json_option = json_option("Print JSON, as REST has it.")


def print_json(value: Any) -> None:
    """Print JSON that is readable for people, too: indented, and without escapes of non-ASCII characters."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))
