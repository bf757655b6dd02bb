// Made by `make generate` from clients/rules.json and proto/instantaudience/v1/errors.proto: do not edit.

/** What an error means for a caller. */
export type Kind =
  /** The request cannot be read, or breaks a rule: sending it again does not help. */
  | "InvalidRequest"
  /** Wrong name, password, key or token, or the account is deactivated. */
  | "Unauthenticated"
  /** The account may not do this. */
  | "PermissionDenied"
  /** There is no such object or method. */
  | "NotFound"
  /** The change contradicts what is there: taken, changed meanwhile, or in use. */
  | "Conflict"
  /** One user's changes are larger than a request may be, or the answer is larger than this client takes. */
  | "TooLarge"
  /** The member's quota is used up, and there was no time left to wait for the next window. */
  | "RateLimited"
  /** The service is out of reach or overloaded; what was sent may be applied in part, and can be sent again. */
  | "Unavailable"
  /** The time that the caller gave is over. */
  | "DeadlineExceeded"
  /** A defect of the service, or an answer that is none of its. */
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

/** How long a call may take, all attempts together, where the caller says nothing. */
export const DEADLINE_MS = 30000;
/** The pause before the second attempt of a call is up to so long; the next ones up to twice as long each. */
export const FIRST_PAUSE_MS = 100;
/** No pause is longer, but for what the service asks for. */
export const MOST_PAUSE_MS = 5000;
/** What one attempt may take; one that hangs is given up, and the next one begins. */
export const ATTEMPT_MS = 10000;
/** While calls are under way and nothing comes, so often it is asked whether anyone is there. */
export const PING_EVERY_MS = 10000;
/** How long that may go unanswered; then the connection is given up, and calls go on with another one. */
export const PING_ANSWER_MS = 5000;
/** The service counts what a member sends by windows of so long. */
export const QUOTA_WINDOW_MS = 1000;
/** Requests of a stream that are under way at once; what they hold is all that a stream keeps in memory. */
export const STREAM_WINDOW = 32;
/** Users that one BatchGetMemberships reads. */
export const BATCH_USERS = 1000;
/** What a user or a block has around it in a request, at most. */
export const FRAME_BYTES = 12;
/** What an answer may have: memberships of a thousand users can be more than the 4 MB that gRPC takes by default. */
export const RECEIVE_BYTES = 67108864;
/** When so much of a token's life is over, another one is asked for. */
export const RENEWAL_PERCENT = 90;
/** How long a call waits for another token, at most, where the one at hand lives still. */
export const RENEWAL_SECONDS = 1;
/** How long after that another one is asked for again, where there was none. */
export const RENEWAL_PAUSE_SECONDS = 60;
/** A token has far fewer; with many more, a request is refused, and its connection with all calls on it may be. */
export const TOKEN_CHARACTERS = 4096;
/** How long the proof of a key is good for. */
export const ASSERTION_SECONDS = 300;
/** Users of a request, where the member's limits say nothing. */
export const USERS_PER_CALL = 1000;
/** Blocks of a user in a request, where the member's limits say nothing. */
export const SEGMENTS_PER_USER = 100;
/** Bytes of a request, where the member's limits say nothing. */
export const BODY_BYTES = 1048576;
/** Requests that apply, a second, where the member's limits say nothing. */
export const POSTS_PER_SECOND = 100;
/** Users in requests that apply, a second, where the member's limits say nothing. */
export const USERS_PER_SECOND = 1000;

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
