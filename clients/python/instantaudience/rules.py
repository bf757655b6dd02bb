"""What the clients of all languages go by.

Made by `make generate` from clients/rules.json and proto/instantaudience/v1/errors.proto: do not edit.
"""

DEADLINE_MS = 30_000
"""The deadline of a call for which the caller sets none, all attempts together."""
FIRST_PAUSE_MS = 100
"""The longest pause before the second attempt of a call; it doubles with each further attempt."""
MOST_PAUSE_MS = 5_000
"""The longest pause, unless the service asks for a longer one."""
ATTEMPT_MS = 10_000
"""The longest time for one attempt; one that hangs is given up, and the next one begins."""
PING_EVERY_MS = 10_000
"""The interval of pings on a connection with calls under way through which nothing comes."""
PING_ANSWER_MS = 5_000
"""How long a ping may stay unanswered; then the connection is given up, and its calls go on with another one."""
QUOTA_WINDOW_MS = 1_000
"""The length of the windows in which the service counts what a member sends."""
STREAM_WINDOW = 32
"""Requests of a stream that are under way at once. A stream keeps nothing else in memory."""
LINGER_MS = 200
"""How long users of a stream that come slowly wait for others to share a request with, at most."""
BATCH_USERS = 1_000
"""The most users in a BatchGetMemberships request."""
FRAME_BYTES = 12
"""The most bytes that the encoding of a request adds to a user or a block."""
RECEIVE_BYTES = 67_108_864
"""The largest answer: the memberships of a thousand users can exceed the 4 MB that gRPC accepts by default."""
RENEWAL_PERCENT = 90
"""The part of a token's life after which it is renewed."""
RENEWAL_SECONDS = 1
"""The longest time that a call waits for a new token while the old one is still valid."""
RENEWAL_PAUSE_SECONDS = 60
"""The pause before the next attempt to renew a token, after one that failed."""
TOKEN_CHARACTERS = 4_096
"""The longest token. A request with a much longer one is refused, and its connection may be closed."""
ASSERTION_SECONDS = 300
"""The lifetime of the assertion by which a caller proves to have a private key."""
USERS_PER_CALL = 1_000
"""The most users in a request, unless the member's limits say otherwise."""
SEGMENTS_PER_USER = 100
"""The most blocks of a user in a request, unless the member's limits say otherwise."""
BODY_BYTES = 1_048_576
"""The most bytes of a request, unless the member's limits say otherwise."""
POSTS_PER_SECOND = 100
"""The most requests that apply memberships in a second, unless the member's limits say otherwise."""
USERS_PER_SECOND = 1_000
"""The most users in such requests in a second, unless the member's limits say otherwise."""
GETS_PER_SECOND = 1_000
"""The most users that are read in a second, unless the member's limits say otherwise."""
QUOTA_PARTS = 4
"""The calls into which a second's quota is divided, so that others of the member get their turn, too."""

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
