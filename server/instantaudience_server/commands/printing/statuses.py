"""Exit statuses and error messages. Commands that send files exit with 0 if all was accepted, 1 if something was
refused, 2 if not all was sent."""

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
    """Not everything was sent."""

    exit_code = FAILED


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Context manager: reports I/O errors in one line, and removes control characters from messages, which may repeat
    untrusted text.

    Raises:
        click.ClickException: for an I/O error.
        OSError: the reader of the output has gone (EPIPE), which is not an error.
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
        # Imported here: importing it takes as long as `--help` does.
        from instantaudience_server.commands.printing.tables import harmless

        error.message = harmless(error.message)  # type: ignore[misc]  # it is on its way to be shown, and only that
        raise


def end_output() -> None:
    """Discard buffered output if it cannot be written: it would raise another error at exit and, from Python 3.14 on,
    replace the exit status."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def failing_is_two(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: exit with FAILED for every error of a command, as for wrong usage."""

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
