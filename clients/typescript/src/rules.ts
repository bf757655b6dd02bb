// Made by `make generate` from clients/rules.json and proto/instantaudience/v1/errors.proto: do not edit.

/** What an error means for a caller. */
export type Kind =
  /** The request is malformed or breaks a rule: sending it again does not help. */
  | "InvalidRequest"
  /** Wrong user name, password, key or token, or the account is deactivated. */
  | "Unauthenticated"
  /** The account may not do this. */
  | "PermissionDenied"
  /** There is no such object or method. */
  | "NotFound"
  /** The change conflicts with the current state: taken, changed meanwhile, or in use. */
  | "Conflict"
  /** One user's changes exceed the size of a request, or an answer exceeds what this client accepts. */
  | "TooLarge"
  /** The member's quota is used up, and there was no time left to wait for the next window. */
  | "RateLimited"
  /** The service is unreachable or overloaded; the request may have been applied in part, and can be sent again. */
  | "Unavailable"
  /** The caller's deadline has passed. */
  | "DeadlineExceeded"
  /** A defect of the service, or an answer that is not the service's. */
  | "Internal";

/** Reasons of errors; see errors.proto. */
export type Reason =
  | "SYNTAX"
  | "NOAUTH"
  | "NOAUTH_DISABLED"
  | "UNAUTH"
  | "INTEGRITY"
  | "LIMIT"
  | "RATE_LIMIT_EXCEEDED"
  | "SYSTEM";

/** The deadline of a call for which the caller sets none, all attempts together. */
export const DEADLINE_MS = 30000;
/** The longest pause before the second attempt of a call; it doubles with each further attempt. */
export const FIRST_PAUSE_MS = 100;
/** The longest pause, unless the service asks for a longer one. */
export const MOST_PAUSE_MS = 5000;
/** The longest time for one attempt; one that hangs is given up, and the next one begins. */
export const ATTEMPT_MS = 10000;
/** The interval of pings on a connection with calls under way through which nothing comes. */
export const PING_EVERY_MS = 10000;
/** How long a ping may stay unanswered; then the connection is given up, and its calls go on with another one. */
export const PING_ANSWER_MS = 5000;
/** The length of the windows in which the service counts what a member sends. */
export const QUOTA_WINDOW_MS = 1000;
/** Requests of a stream that are under way at once. A stream keeps nothing else in memory. */
export const STREAM_WINDOW = 32;
/** How long users of a stream that come slowly wait for others to share a request with, at most. */
export const LINGER_MS = 200;
/** The most users in a BatchGetMemberships request. */
export const BATCH_USERS = 1000;
/** The most bytes that the encoding of a request adds to a user or a block. */
export const FRAME_BYTES = 12;
/** The largest answer: the memberships of a thousand users can exceed the 4 MB that gRPC accepts by default. */
export const RECEIVE_BYTES = 67108864;
/** The part of a token's life after which it is renewed. */
export const RENEWAL_PERCENT = 90;
/** The longest time that a call waits for a new token while the old one is still valid. */
export const RENEWAL_SECONDS = 1;
/** The pause before the next attempt to renew a token, after one that failed. */
export const RENEWAL_PAUSE_SECONDS = 60;
/** The longest token. A request with a much longer one is refused, and its connection may be closed. */
export const TOKEN_CHARACTERS = 4096;
/** The lifetime of the assertion by which a caller proves to have a private key. */
export const ASSERTION_SECONDS = 300;
/** The most users in a request, unless the member's limits say otherwise. */
export const USERS_PER_CALL = 1000;
/** The most blocks of a user in a request, unless the member's limits say otherwise. */
export const SEGMENTS_PER_USER = 100;
/** The most bytes of a request, unless the member's limits say otherwise. */
export const BODY_BYTES = 1048576;
/** The most requests that apply memberships in a second, unless the member's limits say otherwise. */
export const POSTS_PER_SECOND = 100;
/** The most users in such requests in a second, unless the member's limits say otherwise. */
export const USERS_PER_SECOND = 1000;
/** The most users that are read in a second, unless the member's limits say otherwise. */
export const GETS_PER_SECOND = 1000;
/** The calls into which a second's quota is divided, so that others of the member get their turn, too. */
export const QUOTA_PARTS = 4;

/** The kind of an error by its gRPC code; Internal where it is not here. */
export const KIND_OF_CODE: Readonly<Record<number, Kind>> = {
  3: "InvalidRequest", // INVALID_ARGUMENT
  11: "InvalidRequest", // OUT_OF_RANGE
  16: "Unauthenticated", // UNAUTHENTICATED
  7: "PermissionDenied", // PERMISSION_DENIED
  5: "NotFound", // NOT_FOUND
  12: "NotFound", // UNIMPLEMENTED
  6: "Conflict", // ALREADY_EXISTS
  10: "Conflict", // ABORTED
  9: "Conflict", // FAILED_PRECONDITION
  8: "TooLarge", // RESOURCE_EXHAUSTED
  14: "Unavailable", // UNAVAILABLE
  4: "DeadlineExceeded", // DEADLINE_EXCEEDED
};

/** The kind of an error by its reason; goes before its code. */
export const KIND_OF_REASON: Readonly<Record<string, Kind>> = {
  RATE_LIMIT_EXCEEDED: "RateLimited",
};

/** The same of errors without a reason, which are the transport's: of a connection that broke, for example. */
export const KIND_WITHOUT_REASON: Readonly<Record<number, Kind>> = {
  13: "Unavailable", // INTERNAL
  2: "Unavailable", // UNKNOWN
  1: "Unavailable", // CANCELLED
  10: "Unavailable", // ABORTED
};
export const KIND_OTHERWISE: Kind = "Internal";

/** Kinds of errors that another attempt helps. */
export const SENT_AGAIN: ReadonlySet<Kind> = new Set<Kind>(["RateLimited", "Unavailable", "DeadlineExceeded"]);

/** The reason of errors that another token helps. */
export const RENEWED_REASON: Reason = "NOAUTH";

/** Codes of warnings of a user that was skipped as a whole. */
export const WARNINGS_OF_USERS: ReadonlySet<number> = new Set([
  1, // TOO_MANY_USERS
  2, // USER_ID_REQUIRED
  3, // SEG_BLOCK_REQUIRED
  4, // INVALID_DOMAIN
  5, // INVALID_USER_ID
  6, // NO_VALID_SEGMENTS
]);
