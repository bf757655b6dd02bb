"""What the clients of all languages go by.

Made by `make generate` from clients/rules.json and proto/instantaudience/v1/errors.proto: do not edit.
"""

DEADLINE_MS = 30_000
"""How long a call may take, all attempts together, where the caller says nothing."""
FIRST_PAUSE_MS = 100
"""The pause before the second attempt of a call is up to so long; the next ones up to twice as long each."""
MOST_PAUSE_MS = 5_000
"""No pause is longer, but for what the service asks for."""
ATTEMPT_MS = 10_000
"""What one attempt may take; one that hangs is given up, and the next one begins."""
PING_EVERY_MS = 10_000
"""While calls are under way and nothing comes, so often it is asked whether anyone is there."""
PING_ANSWER_MS = 5_000
"""How long that may go unanswered; then the connection is given up, and calls go on with another one."""
QUOTA_WINDOW_MS = 1_000
"""The service counts what a member sends by windows of so long."""
STREAM_WINDOW = 32
"""Requests of a stream that are under way at once; what they hold is all that a stream keeps in memory."""
BATCH_USERS = 1_000
"""Users that one BatchGetMemberships reads."""
FRAME_BYTES = 12
"""What a user or a block has around it in a request, at most."""
RECEIVE_BYTES = 67_108_864
"""What an answer may have: memberships of a thousand users can be more than the 4 MB that gRPC takes by default."""
RENEWAL_PERCENT = 90
"""When so much of a token's life is over, another one is asked for."""
RENEWAL_SECONDS = 1
"""How long a call waits for another token, at most, where the one at hand lives still."""
RENEWAL_PAUSE_SECONDS = 60
"""How long after that another one is asked for again, where there was none."""
TOKEN_CHARACTERS = 4_096
"""A token has far fewer; with many more, a request is refused, and its connection with all calls on it may be."""
ASSERTION_SECONDS = 300
"""How long the proof of a key is good for."""
USERS_PER_CALL = 1_000
"""Users of a request, where the member's limits say nothing."""
SEGMENTS_PER_USER = 100
"""Blocks of a user in a request, where the member's limits say nothing."""
BODY_BYTES = 1_048_576
"""Bytes of a request, where the member's limits say nothing."""
POSTS_PER_SECOND = 100
"""Requests that apply, a second, where the member's limits say nothing."""
USERS_PER_SECOND = 1_000
"""Users in requests that apply, a second, where the member's limits say nothing."""

KIND_OF_CODE: dict[int, str] = {
    3: "InvalidRequest",  # INVALID_ARGUMENT
    11: "InvalidRequest",  # OUT_OF_RANGE
    16: "Unauthenticated",  # UNAUTHENTICATED
    7: "PermissionDenied",  # PERMISSION_DENIED
    5: "NotFound",  # NOT_FOUND
    12: "NotFound",  # UNIMPLEMENTED
    6: "Conflict",  # ALREADY_EXISTS
    10: "Conflict",  # ABORTED
    9: "Conflict",  # FAILED_PRECONDITION
    8: "TooLarge",  # RESOURCE_EXHAUSTED
    14: "Unavailable",  # UNAVAILABLE
    4: "DeadlineExceeded",  # DEADLINE_EXCEEDED
}
"""The kind of an error by its gRPC code; Internal where it is not here."""

KIND_OF_REASON: dict[str, str] = {
    "RATE_LIMIT_EXCEEDED": "RateLimited",
}
"""The kind of an error by its reason; goes before its code."""

KIND_WITHOUT_REASON: dict[int, str] = {
    13: "Unavailable",  # INTERNAL
    2: "Unavailable",  # UNKNOWN
    1: "Unavailable",  # CANCELLED
    10: "Unavailable",  # ABORTED
}
"""The same of errors without a reason, which are the transport's: of a connection that broke, for example."""
KIND_OTHERWISE = "Internal"
SENT_AGAIN = frozenset({"RateLimited", "Unavailable", "DeadlineExceeded"})
"""Kinds of errors that another attempt helps."""
RENEWED_REASON = "NOAUTH"
"""The reason of errors that another token helps."""
WARNINGS_OF_USERS = frozenset(
    {
        1,  # TOO_MANY_USERS
        2,  # USER_ID_REQUIRED
        3,  # SEG_BLOCK_REQUIRED
        4,  # INVALID_DOMAIN
        5,  # INVALID_USER_ID
        6,  # NO_VALID_SEGMENTS
    }
)
"""Codes of warnings of a user that was skipped as a whole."""
