"""How commands that send files end: 0, all was taken; 1, something was refused; 2, it was not done to its end."""

import functools
from collections.abc import Callable
from typing import Any

import click

PARTIAL = 1
FAILED = 2


class FailedError(click.ClickException):
    """Something of what was to be sent was not."""

    exit_code = FAILED


def failing_is_two(command: Callable[..., Any]) -> Callable[..., Any]:
    """Have all errors of a command end it with FAILED, as wrong usage does."""

    @functools.wraps(command)
    def failing(*values: Any, **arguments: Any) -> Any:
        try:
            return command(*values, **arguments)
        except click.UsageError:
            raise
        except click.ClickException as error:
            raise FailedError(error.message) from error

    return failing
