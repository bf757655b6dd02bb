"""What a service answers over REST; and what somebody else answers in its place."""

from typing import Any

import click
import httpx

_AWAY = (429, 502, 503, 504)
"""Statuses of what helps to ask again: some are those of whoever stands before the service."""


def and_so(sentence: str, *more: str) -> str:
    """A sentence of a service's, which may end with a full stop, and what a command adds to it."""
    return "; ".join([sentence.removesuffix("."), *more]) if more else sentence


def told(answer: httpx.Response, sentence: str) -> str:
    """What an answer says, and when to try again where it says that."""
    wait = answer.headers.get("retry-after")
    return and_so(sentence, f"try again in {wait} s") if wait else sentence


class TokenRefusedError(click.ClickException):
    """The service does not take the token; `reason` is its error_id."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class AwayError(click.ClickException):
    """The service does not answer, or does not do it now: after `retry_seconds`, it may."""

    def __init__(self, message: str, retry_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.retry_seconds = retry_seconds


class Response(dict[str, Any]):
    """The `response` object of an answer. Where it, or what is asked of it, is missing, somebody else has answered."""

    def __init__(self, answer: httpx.Response) -> None:
        """Read it.

        Raises:
            click.ClickException: there is none; AwayError where that may change soon.
        """
        self._other = f"{answer.url} is not this service: HTTP {answer.status_code}"
        self._error = AwayError if answer.status_code in _AWAY else click.ClickException
        try:
            super().__init__(answer.json()["response"])
        except (ValueError, KeyError, TypeError, RecursionError):
            raise self._error(self._other) from None

    def __missing__(self, key: str) -> Any:
        raise self._error(self._other)


def response_of(answer: httpx.Response) -> Response:
    """What a call that succeeded is answered.

    Raises:
        click.ClickException: it has failed; TokenRefusedError, AwayError where it has in one of these ways.
    """
    response = Response(answer)
    if not answer.is_error:
        return response
    message = told(answer, f"{response['error_id']}: {response['error']}")
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        raise TokenRefusedError(response["error_id"], message)
    if answer.status_code in _AWAY:
        wait = answer.headers.get("retry-after", "")
        raise AwayError(message, float(wait) if wait.isdigit() else 0.0)
    raise click.ClickException(message)
