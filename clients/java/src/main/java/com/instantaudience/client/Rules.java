// Made by `make generate` from clients/rules.json and proto/instantaudience/v1/errors.proto: do not edit.
package com.instantaudience.client;

import java.util.EnumSet;
import java.util.Map;
import java.util.Set;

/** What the clients of all languages go by. */
final class Rules {
  private Rules() {}

  /** The deadline of a call for which the caller sets none, all attempts together. */
  static final int DEADLINE_MS = 30000;

  /** The longest pause before the second attempt of a call; it doubles with each further attempt. */
  static final int FIRST_PAUSE_MS = 100;

  /** The longest pause, unless the service asks for a longer one. */
  static final int MOST_PAUSE_MS = 5000;

  /** The longest time for one attempt; one that hangs is given up, and the next one begins. */
  static final int ATTEMPT_MS = 10000;

  /** The interval of pings on a connection with calls under way through which nothing comes. */
  static final int PING_EVERY_MS = 10000;

  /** How long a ping may stay unanswered; then the connection is given up, and its calls go on with another one. */
  static final int PING_ANSWER_MS = 5000;

  /** The length of the windows in which the service counts what a member sends. */
  static final int QUOTA_WINDOW_MS = 1000;

  /** Requests of a stream that are under way at once. A stream keeps nothing else in memory. */
  static final int STREAM_WINDOW = 32;

  /** How long users of a stream that come slowly wait for others to share a request with, at most. */
  static final int LINGER_MS = 200;

  /** The most users in a BatchGetMemberships request. */
  static final int BATCH_USERS = 1000;

  /** The most bytes that the encoding of a request adds to a user or a block. */
  static final int FRAME_BYTES = 12;

  /** The largest answer: the memberships of a thousand users can exceed the 4 MB that gRPC accepts by default. */
  static final int RECEIVE_BYTES = 67108864;

  /** The part of a token's life after which it is renewed. */
  static final int RENEWAL_PERCENT = 90;

  /** The longest time that a call waits for a new token while the old one is still valid. */
  static final int RENEWAL_SECONDS = 1;

  /** The pause before the next attempt to renew a token, after one that failed. */
  static final int RENEWAL_PAUSE_SECONDS = 60;

  /** The longest token. A request with a much longer one is refused, and its connection may be closed. */
  static final int TOKEN_CHARACTERS = 4096;

  /** The lifetime of the assertion by which a caller proves to have a private key. */
  static final int ASSERTION_SECONDS = 300;

  /** The most users in a request, unless the member's limits say otherwise. */
  static final int USERS_PER_CALL = 1000;

  /** The most blocks of a user in a request, unless the member's limits say otherwise. */
  static final int SEGMENTS_PER_USER = 100;

  /** The most bytes of a request, unless the member's limits say otherwise. */
  static final int BODY_BYTES = 1048576;

  /** The most requests that apply memberships in a second, unless the member's limits say otherwise. */
  static final int POSTS_PER_SECOND = 100;

  /** The most users in such requests in a second, unless the member's limits say otherwise. */
  static final int USERS_PER_SECOND = 1000;

  /** The most users that are read in a second, unless the member's limits say otherwise. */
  static final int GETS_PER_SECOND = 1000;

  /** The calls into which a second's quota is divided, so that others of the member get their turn, too. */
  static final int QUOTA_PARTS = 4;

  /** The kind of an error by its gRPC code; Internal where it is not here. */
  static final Map<Integer, ErrorKind> KIND_OF_CODE = Map.ofEntries(
      Map.entry(3, ErrorKind.INVALID_REQUEST),
      Map.entry(11, ErrorKind.INVALID_REQUEST),
      Map.entry(16, ErrorKind.UNAUTHENTICATED),
      Map.entry(7, ErrorKind.PERMISSION_DENIED),
      Map.entry(5, ErrorKind.NOT_FOUND),
      Map.entry(12, ErrorKind.NOT_FOUND),
      Map.entry(6, ErrorKind.CONFLICT),
      Map.entry(10, ErrorKind.CONFLICT),
      Map.entry(9, ErrorKind.CONFLICT),
      Map.entry(8, ErrorKind.TOO_LARGE),
      Map.entry(14, ErrorKind.UNAVAILABLE),
      Map.entry(4, ErrorKind.DEADLINE_EXCEEDED));

  /** The kind of an error by its reason; goes before its code. */
  static final Map<String, ErrorKind> KIND_OF_REASON = Map.ofEntries(
      Map.entry("RATE_LIMIT_EXCEEDED", ErrorKind.RATE_LIMITED));

  /** The same of errors without a reason, which are the transport's: of a connection that broke, for example. */
  static final Map<Integer, ErrorKind> KIND_WITHOUT_REASON = Map.ofEntries(
      Map.entry(13, ErrorKind.UNAVAILABLE),
      Map.entry(2, ErrorKind.UNAVAILABLE),
      Map.entry(1, ErrorKind.UNAVAILABLE),
      Map.entry(10, ErrorKind.UNAVAILABLE));

  static final ErrorKind KIND_OTHERWISE = ErrorKind.INTERNAL;

  /** Kinds of errors that another attempt helps. */
  static final Set<ErrorKind> SENT_AGAIN = EnumSet.of(ErrorKind.RATE_LIMITED, ErrorKind.UNAVAILABLE, ErrorKind.DEADLINE_EXCEEDED);

  /** The reason of errors that another token helps. */
  static final String RENEWED_REASON = "NOAUTH";

  /** Codes of warnings of a user that was skipped as a whole. */
  static final Set<Integer> WARNINGS_OF_USERS = Set.of(1 /* TOO_MANY_USERS */, 2 /* USER_ID_REQUIRED */, 3 /* SEG_BLOCK_REQUIRED */, 4 /* INVALID_DOMAIN */, 5 /* INVALID_USER_ID */, 6 /* NO_VALID_SEGMENTS */);
}
