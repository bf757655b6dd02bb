"""gRPC requests made of the contract's JSON."""

from typing import Any

from google.protobuf.json_format import ParseDict
from instantaudience.v1 import audience_pb2 as pb

PACKAGE = "instantaudience.v1"
APPLY = f"/{PACKAGE}.AudienceService/ApplySegments"
STREAM = f"/{PACKAGE}.AudienceService/StreamSegments"
AUTHENTICATE = f"/{PACKAGE}.AuthenticationService/Authenticate"
GET_STATUS = f"/{PACKAGE}.StatusService/GetStatus"
LIMIT_BYTES = 1_048_576
"""The longest request (contract, "Limits")."""
USER = "12345678900987654321"


def apply_request(request: dict[str, Any], **fields: Any) -> pb.ApplySegmentsRequest:
    """The request, with more fields."""
    return ParseDict(request, pb.ApplySegmentsRequest(**fields), ignore_unknown_fields=True)


def stream_request(request: dict[str, Any], **fields: Any) -> pb.StreamSegmentsRequest:
    """The request as one of a stream."""
    return ParseDict(request, pb.StreamSegmentsRequest(**fields), ignore_unknown_fields=True)


def one_user(user_id: str = USER, **block: Any) -> dict[str, Any]:
    """A request for one user and one block, the segment 10001 forever unless told otherwise."""
    return {"rt_segment": [{"user_id": user_id, "seg_block": [{"seg_id": 10001, "expiration": 0, **block}]}]}
