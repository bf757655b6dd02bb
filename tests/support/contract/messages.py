"""gRPC requests from the contract's JSON."""

from typing import Any

from google.protobuf.json_format import ParseDict
from instantaudience.v1 import audience_pb2 as pb

PACKAGE = "instantaudience.v1"
APPLY = f"/{PACKAGE}.AudienceService/ApplySegments"
STREAM = f"/{PACKAGE}.AudienceService/StreamSegments"
AUTHENTICATE = f"/{PACKAGE}.AuthenticationService/Authenticate"
GET_STATUS = f"/{PACKAGE}.StatusService/GetStatus"
LIMIT_BYTES = 1_048_576
"""The maximum size of a request (contract, "Limits")."""
USER = "12345678900987654321"


def apply_request(request: dict[str, Any], **fields: Any) -> pb.ApplySegmentsRequest:
    """A unary request, with additional fields."""
    return ParseDict(request, pb.ApplySegmentsRequest(**fields), ignore_unknown_fields=True)


def stream_request(request: dict[str, Any], **fields: Any) -> pb.StreamSegmentsRequest:
    """A request of a stream, with additional fields."""
    return ParseDict(request, pb.StreamSegmentsRequest(**fields), ignore_unknown_fields=True)


def one_user(user_id: str = USER, **block: Any) -> dict[str, Any]:
    """A request for one user and one block: segment 10001 without expiration, unless given otherwise."""
    return {"rt_segment": [{"user_id": user_id, "seg_block": [{"seg_id": 10001, "expiration": 0, **block}]}]}
