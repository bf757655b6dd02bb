"""The answers to ApplySegments and StreamSegments. Most calls end alike, so their answers are made once."""

from collections.abc import Sequence
from functools import lru_cache

from instantaudience.v1 import audience_pb2 as pb

from instantaudience_server.memberships.posts import Result
from instantaudience_server.transport.calls import Answer
from instantaudience_server.usage.forms import EncodedAnswer

KEPT = 10_000
"""Answers that a worker keeps, of each kind."""


def apply_answer(result: Result) -> Answer:
    """What ApplySegments answers."""
    if result.warnings:
        return pb.ApplySegmentsResponse(response=_message(*result))
    return _apply_answer(result.users, result.segments)


def stream_answer(result: Result) -> Answer:
    """What StreamSegments answers to a request."""
    if result.warnings:
        return pb.StreamSegmentsResponse(response=_message(*result))
    return _stream_answer(result.users, result.segments)


@lru_cache(maxsize=KEPT)
def _apply_answer(users: int, segments: int) -> EncodedAnswer:
    answer = pb.ApplySegmentsResponse(response=_message(users, segments))
    return EncodedAnswer(answer.SerializeToString(deterministic=True))


@lru_cache(maxsize=KEPT)
def _stream_answer(users: int, segments: int) -> EncodedAnswer:
    answer = pb.StreamSegmentsResponse(response=_message(users, segments))
    return EncodedAnswer(answer.SerializeToString(deterministic=True))


def _message(users: int, segments: int, warnings: Sequence[pb.ApplyWarning] = ()) -> pb.ApplySegmentsResult:
    message = pb.ApplySegmentsResult(status="OK", warnings=warnings)
    message.message.users_in_request = users
    message.message.segments_in_request = segments
    return message
