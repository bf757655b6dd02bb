package com.instantaudience.client;

import io.grpc.Status;
import java.time.Duration;
import java.util.Map;
import java.util.Optional;

/** A call failed; what that means for the caller, the subclass says. */
public abstract class AudienceException extends RuntimeException {
  private static final long serialVersionUID = 1;

  private final ErrorKind kind;
  private final Failure failure;

  AudienceException(ErrorKind kind, Failure failure) {
    super(failure.text(), failure.cause());
    this.kind = kind;
    this.failure = failure;
  }

  /** What it means for the caller. */
  public ErrorKind kind() {
    return kind;
  }

  /** gRPC's status code. */
  public Status.Code code() {
    return failure.code();
  }

  /** The reason of {@code google.rpc.ErrorInfo}, as listed in errors.proto; empty where the transport has failed. */
  public String reason() {
    return failure.reason();
  }

  /** What the service's log names the call by; empty where nothing was sent. */
  public String requestId() {
    return failure.requestId();
  }

  /** When the service asks to try again. */
  public Optional<Duration> retryAfter() {
    return Optional.ofNullable(failure.retryAfter());
  }

  /** What ErrorInfo says besides: often {@code field}, the field that is meant. */
  public Map<String, String> metadata() {
    return failure.metadata();
  }

  /** Whether the service, or its transport, may take the same later. */
  public boolean isWorthAnotherTry() {
    return Rules.SENT_AGAIN.contains(kind);
  }
}
