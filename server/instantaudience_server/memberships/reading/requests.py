"""Decodes requests to apply memberships, leaving their users encoded (docs/adr/0006-users-stay-encoded.md)."""

from collections.abc import Sequence
from typing import Any, ClassVar

from instantaudience.v1 import audience_pb2 as pb

from instantaudience_server.memberships.reading.extension import encoded_users
from instantaudience_server.memberships.reading.skipped import COMPLETE, WarningForm
from instantaudience_server.memberships.reading.wire import EncodedRequest


class ApplyRequest:
    """An ApplySegmentsRequest or StreamSegmentsRequest.

    `users` are encoded RtSegment messages, `size_bytes` is the size of the request, and `warning_form` says which parts
    warnings are to have.
    """

    __slots__ = ("size_bytes", "users", "validate_only", "warning_form")

    DESCRIPTOR: ClassVar[Any] = EncodedRequest.DESCRIPTOR

    def __init__(
        self,
        users: Sequence[bytes],
        size_bytes: int,
        *,
        validate_only: bool = False,
        warning_form: WarningForm = COMPLETE,
    ) -> None:
        self.users = users
        self.size_bytes = size_bytes
        self.validate_only = validate_only
        self.warning_form = warning_form

    @classmethod
    def FromString(cls, encoded: bytes) -> "ApplyRequest":  # noqa: N802 - protobuf's name
        """Decode a request. The name and the error are those of protobuf's message classes.

        Raises:
            DecodeError: the bytes are no readable request.
        """
        found = encoded_users(encoded)
        if found is None:
            message = EncodedRequest.FromString(encoded)
            users: Sequence[bytes] = list(message.rt_segment)  # each access to the message's own list copies the bytes
        else:
            users, others = found
            if not others:
                return cls(users, len(encoded))
            message = EncodedRequest.FromString(others)
        form = WarningForm(
            places=message.detail or not message.HasField("detail"),
            entities=message.warning_entities != pb.WARNING_ENTITIES_NONE,
        )
        return cls(users, len(encoded), validate_only=message.validate_only, warning_form=form)
