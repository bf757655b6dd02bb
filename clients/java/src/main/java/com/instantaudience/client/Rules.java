// Made by `make generate` from clients/rules.json and proto/instantaudience/v1/errors.proto: do not edit.
package com.instantaudience.client;

import java.util.EnumSet;
import java.util.Map;
import java.util.Set;

/** What the clients of all languages go by. */
final class Rules {
  private Rules() {}

  /** How long a call may take, all attempts together, where the caller says nothing. */
  static final int DEADLINE_MS = 30000;

  /** The pause before the second attempt of a call is up to so long; the next ones up to twice as long each. */
  static final int FIRST_PAUSE_MS = 100;

  /** No pause is longer, but for what the service asks for. */
  static final int MOST_PAUSE_MS = 5000;

  /** What one attempt may take; one that hangs is given up, and the next one begins. */
  static final int ATTEMPT_MS = 10000;

  /** While calls are under way and nothing comes, so often it is asked whether anyone is there. */
  static final int PING_EVERY_MS = 10000;

  /** How long that may go unanswered; then the connection is given up, and calls go on with another one. */
  static final int PING_ANSWER_MS = 5000;

  /** The service counts what a member sends by windows of so long. */
  static final int QUOTA_WINDOW_MS = 1000;

  /** Requests of a stream that are under way at once; what they hold is all that a stream keeps in memory. */
  static final int STREAM_WINDOW = 32;

  /** Users that one BatchGetMemberships reads. */
  static final int BATCH_USERS = 1000;

  /** What a user or a block has around it in a request, at most. */
  static final int FRAME_BYTES = 12;

  /** What an answer may have: memberships of a thousand users can be more than the 4 MB that gRPC takes by default. */
  static final int RECEIVE_BYTES = 67108864;

  /** When so much of a token's life is over, another one is asked for. */
  static final int RENEWAL_PERCENT = 90;

  /** How long a call waits for another token, at most, where the one at hand lives still. */
  static final int RENEWAL_SECONDS = 1;

  /** How long after that another one is asked for again, where there was none. */
  static final int RENEWAL_PAUSE_SECONDS = 60;

  /** A token has far fewer; with many more, a request is refused, and its connection with all calls on it may be. */
  static final int TOKEN_CHARACTERS = 4096;

  /** How long the proof of a key is good for. */
  static final int ASSERTION_SECONDS = 300;

  /** Users of a request, where the member's limits say nothing. */
  static final int USERS_PER_CALL = 1000;

  /** Blocks of a user in a request, where the member's limits say nothing. */
  static final int SEGMENTS_PER_USER = 100;

  /** Bytes of a request, where the member's limits say nothing. */
  static final int BODY_BYTES = 1048576;

  /** Requests that apply, a second, where the member's limits say nothing. */
  static final int POSTS_PER_SECOND = 100;

  /** Users in requests that apply, a second, where the member's limits say nothing. */
  static final int USERS_PER_SECOND = 1000;

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
