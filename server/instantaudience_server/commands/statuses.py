"""How commands end. Those that send files: 0, all was taken; 1, something was refused; 2, not all was done."""

import contextlib
import errno
import functools
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click

PARTIAL = 1
FAILED = 2


class FailedError(click.ClickException):
    """Something of what was to be sent was not."""

    exit_code = FAILED


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Have what cannot be read or written said in a line, and have no error steer the terminal: it may repeat what
    others wrote.

    Raises:
        click.ClickException: it says which.
        OSError: nobody reads the output any more (EPIPE), which is no error.
    """
    try:
        yield
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise
        end_output()
        hint = "; let a process have more (`ulimit -n`, LimitNOFILE)" if error.errno == errno.EMFILE else ""
        what = error.filename or "input or output"
        raise click.ClickException(f"{what}: {error.strerror or error}{hint}") from error
    except UnicodeEncodeError as error:
        where = f"the output's encoding, {error.encoding}, lacks characters"
        raise click.ClickException(f"{where}: set PYTHONIOENCODING=utf-8") from error
    except click.ClickException as error:
        # Only here: reading it takes as long as `--help` does.
        from instantaudience_server.commands.printing.tables import harmless

        error.message = harmless(error.message)  # type: ignore[misc]  # it is on its way to be shown, and only that
        raise


def end_output() -> None:
    """Where the output takes nothing, drop what is left for it: at the end it would be an error once more, and,
    from Python 3.14 on, take the place of the command's own status."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def failing_is_two(command: Callable[..., Any]) -> Callable[..., Any]:
    """Have all errors of a command end it with FAILED, as wrong usage does."""

    @functools.wraps(command)
    def failing(*values: Any, **arguments: Any) -> Any:
        try:
            with explained():
                return command(*values, **arguments)
        except click.UsageError:
            raise
        except click.ClickException as error:
            raise FailedError(error.message) from error
        except (KeyboardInterrupt, click.Abort) as error:
            raise FailedError("interrupted") from error

    return failing
