"""Reads REST responses, including those of something else than the service."""

from typing import Any

import click
import httpx

_AWAY = (429, 502, 503, 504)
"""Statuses after which it helps to try again; some come from proxies in front of the service."""


def and_so(sentence: str, *more: str) -> str:
    """A sentence of a service's, which may end with a full stop, and what a command adds to it."""
    return "; ".join([sentence.removesuffix("."), *more]) if more else sentence


def told(answer: httpx.Response, sentence: str) -> str:
    """What an answer says, and when to try again where it says that."""
    wait = _retry_seconds(answer)
    return and_so(sentence, f"try again in {wait} s") if wait else sentence


def _retry_seconds(answer: httpx.Response) -> int:
    """When an answer says to try again; 0 if it does not, or names a date, as proxies may (RFC 9110, 10.2.3)."""
    wait = answer.headers.get("retry-after", "")
    return int(wait) if wait.isdecimal() else 0


class TokenRefusedError(click.ClickException):
    """The service rejects the token; `reason` is the `error_id`."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class AwayError(click.ClickException):
    """The service is unavailable; it may be available again after `retry_seconds`."""

    def __init__(self, message: str, retry_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.retry_seconds = retry_seconds


class Response(dict[str, Any]):
    """The `response` object of a response body. If it, or a key that is read from it, is missing, the response is not
    the service's."""

    def __init__(self, answer: httpx.Response) -> None:
        """Parse a response.

        Raises:
            AwayError: it is not the service's, but this may change soon.
            click.ClickException: it is not the service's.
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
    """The `response` object of a successful call.

    Raises:
        TokenRefusedError: the token was rejected.
        AwayError: the service is unavailable.
        click.ClickException: the call failed in another way.
    """
    response = Response(answer)
    if not answer.is_error:
        return response
    message = told(answer, f"{response['error_id']}: {response['error']}")
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        raise TokenRefusedError(response["error_id"], message)
    if answer.status_code in _AWAY:
        raise AwayError(message, _retry_seconds(answer))
    raise click.ClickException(message)
