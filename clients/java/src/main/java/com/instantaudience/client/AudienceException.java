package com.instantaudience.client;

import io.grpc.Status;
import java.time.Duration;
import java.util.Map;
import java.util.Optional;

/** A call failed; the subclass tells the kind of failure. */
public abstract class AudienceException extends RuntimeException {
  private static final long serialVersionUID = 1;

  private final ErrorKind kind;
  private final Failure failure;

  AudienceException(ErrorKind kind, Failure failure) {
    super(failure.text(), failure.cause());
    this.kind = kind;
    this.failure = failure;
  }

  /** The kind of failure. */
  public ErrorKind kind() {
    return kind;
  }

  /** gRPC's status code. */
  public Status.Code code() {
    return failure.code();
  }

  /** The reason of {@code google.rpc.ErrorInfo}, as listed in errors.proto; empty if the transport failed. */
  public String reason() {
    return failure.reason();
  }

  /** The call's ID in the service's log; empty if nothing was sent. */
  public String requestId() {
    return failure.requestId();
  }

  /** When the service asks to try again. */
  public Optional<Duration> retryAfter() {
    return Optional.ofNullable(failure.retryAfter());
  }

  /** The metadata of ErrorInfo: often {@code field}, the field concerned. */
  public Map<String, String> metadata() {
    return failure.metadata();
  }

  /** Whether a retry of the same call may succeed. */
  public boolean isWorthAnotherTry() {
    return Rules.SENT_AGAIN.contains(kind);
  }
}
