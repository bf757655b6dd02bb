"""Translates between the service and the native host: kinds of methods, failures, JSON forms, and flaws of requests."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from instantaudience_server.admission import admission
from instantaudience_server.errors import AudienceError, overloaded
from instantaudience_server.transport.calls.kinds import (
    AnyMethod,
    CollectMethod,
    Method,
    PublicMethod,
    PublicStreamMethod,
    StreamMethod,
)
from instantaudience_server.transport.framing import Flaw, failure_headers, flawed, too_long
from instantaudience_server.transport.rest import JsonForm, rest_failure
from instantaudience_server.transport.status import ERROR_ID_KEY, Failure, describe

Wrong = tuple[str, int]
"""What is wrong with a request: the value of a `Flaw`, and the size of a message that is too long."""


def kind(method: AnyMethod) -> str:
    """The native host's name for how it treats a method's calls: `stream`, `gathered`, `queued` or `express`."""
    if isinstance(method, StreamMethod | CollectMethod | PublicStreamMethod):
        return "stream"
    if isinstance(method, Method) and method.posting is not None:
        return "gathered"
    return "express" if isinstance(method, PublicMethod) else "queued"


def refusals() -> list[Failure]:
    """The failures of calls that the host refuses for overload: one for each `retry-after`."""
    first, last = admission.RETRY_SECONDS
    return [describe(overloaded(admission.OVERLOADED, seconds)) for seconds in range(first, last + 1)]


@dataclass(frozen=True, slots=True)
class RestForm:
    """A `JsonForm` as the native host takes it.

    `too_slow`, `elsewhere` and `no_credential` are encoded failures, and `for_gateway` is the header of failures that
    no caller sees.
    `warning_form` is what the bytes `start` say of the parts of warnings; None for methods without.
    """

    path: str
    limit_bytes: int
    reader: Any
    writer: Any
    too_slow: Any
    elsewhere: Any
    no_credential: Any
    for_gateway: str
    start: bytes
    warning_form: Any


def rest_form(form: JsonForm | None, method: AnyMethod) -> RestForm | None:
    """The form of this method, if it has one."""
    if form is None:
        return None
    from instantaudience_native import FailedAnswer, JsonReader, JsonWriter

    request, answer = form.request, form.answer
    reader = JsonReader(
        request.messages,
        request.root,
        start=form.start,
        depth=form.depth,
        rules=form.rules,
        empty=form.empty,
    )
    return RestForm(
        path=form.rest_path,
        limit_bytes=form.limit_bytes,
        reader=reader,
        writer=JsonWriter(answer.messages, answer.root),
        too_slow=FailedAnswer([], form.too_slow[0], [], form.too_slow[1]),
        elsewhere=FailedAnswer([], form.elsewhere[0], [], form.elsewhere[1]),
        no_credential=failed_answer(describe(flawed(Flaw.NO_CREDENTIAL))),
        for_gateway=ERROR_ID_KEY,
        start=form.start,
        warning_form=method.request.FromString(form.start).warning_form if kind(method) == "gathered" else None,
    )


@lru_cache(maxsize=100)
def failed_answer(failure: Failure) -> Any:
    """A failure, encoded for callers of gRPC and of JSON.

    Raises:
        ValueError: it has text that is not allowed in a header.
    """
    from instantaudience_native import FailedAnswer, json_text

    return FailedAnswer(failure_headers(failure), *rest_failure(failure, json_text))


def error_of(wrong: Wrong, message_limit_bytes: int) -> AudienceError:
    """The error of a call whose request is wrong in this way."""
    flaw, size = Flaw(wrong[0]), wrong[1]
    return too_long(size, message_limit_bytes) if flaw is Flaw.TOO_LONG else flawed(flaw)
