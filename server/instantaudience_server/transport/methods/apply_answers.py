"""Encodes the answers to ApplySegments and StreamSegments, and caches those without warnings."""

from functools import lru_cache

from instantaudience.v1 import audience_pb2 as pb

from instantaudience_server.memberships.posts import Result
from instantaudience_server.memberships.reading.entities import delimited
from instantaudience_server.usage.forms import EncodedAnswer

KEPT = 10_000
"""How many encoded answers a worker caches."""
_RESPONSE = b"\x0a"
"""The tag of the result in ApplySegmentsResponse and in StreamSegmentsResponse."""


def apply_answer(result: Result) -> EncodedAnswer:
    """The answer of ApplySegments, or of StreamSegments to one request: both have the same encoding."""
    if result.warnings:
        return EncodedAnswer(delimited(_RESPONSE, _counts(result) + result.warnings))
    return _usual_answer(result)


@lru_cache(maxsize=KEPT)
def _usual_answer(result: Result) -> EncodedAnswer:
    return EncodedAnswer(delimited(_RESPONSE, _counts(result)))


def _counts(result: Result) -> bytes:
    counts = pb.RequestCounts(users_in_request=result.users, segments_in_request=result.segments)
    return pb.ApplySegmentsResult(status="OK", message=counts).SerializeToString(deterministic=True)
