package com.instantaudience.client;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.io.Serializable;
import java.time.Duration;
import java.util.List;
import java.util.Map;

/** The fields of an error. {@code retryAfter} and {@code cause} are null if there is none. */
record Failure(
    Status.Code code,
    String message,
    String reason,
    String requestId,
    Duration retryAfter,
    Map<String, String> metadata,
    Throwable cause)
    implements Serializable {
  /** Maximum of protobuf's durations: 10,000 years. */
  private static final long MOST_DELAY_SECONDS = 315_576_000_000L;

  /** The exception for a failed attempt. */
  static AudienceException ofCall(StatusRuntimeException thrown, String requestId) {
    return ofStatus(statusOf(thrown), requestId, thrown);
  }

  /** The exception for the status of a request in a stream. */
  static AudienceException ofStatus(com.google.rpc.Status status, String requestId) {
    return ofStatus(status, requestId, null);
  }

  /** The exception for a deadline that the client itself found to have passed. */
  static AudienceException late(String message) {
    return new DeadlineExceededException(own(Status.Code.DEADLINE_EXCEEDED, message, ""));
  }

  static AudienceException unavailable(String message, String requestId) {
    return new UnavailableException(own(Status.Code.UNAVAILABLE, message, requestId));
  }

  static AudienceException internal(String message, String requestId) {
    return new InternalException(own(Status.Code.INTERNAL, message, requestId));
  }

  /** The exception for a call that the caller has cancelled. */
  static AudienceException givenUp(String requestId) {
    return new UnavailableException(own(Status.Code.CANCELLED, "the caller has given up", requestId));
  }

  /** The exception for an answer without its mandatory content. */
  static AudienceException saysNothing(String requestId) {
    return internal("an answer that does not say what was asked for", requestId);
  }

  static AudienceException invalid(String message) {
    return new InvalidRequestException(own(Status.Code.INVALID_ARGUMENT, message, ""));
  }

  private static Failure own(Status.Code code, String message, String requestId) {
    return new Failure(code, message, "", requestId, null, Map.of(), null);
  }

  private static AudienceException ofStatus(com.google.rpc.Status status, String requestId, Throwable cause) {
    ErrorInfo info = detail(status.getDetailsList(), ErrorInfo.class, ErrorInfo.getDefaultInstance());
    RetryInfo retry = detail(status.getDetailsList(), RetryInfo.class, RetryInfo.getDefaultInstance());
    Status.Code code = Status.fromCodeValue(status.getCode()).getCode();
    return of(
        kindOf(status.getCode(), info.getReason()),
        new Failure(
            code, status.getMessage(), info.getReason(), requestId, retryAfter(retry), Map.copyOf(info.getMetadataMap()), cause));
  }

  /** The status of a call; without its details, if they cannot be parsed or belong to another code. */
  private static com.google.rpc.Status statusOf(StatusRuntimeException thrown) {
    if (thrown.getStatus().getCause() != null) {
      return StatusProto.fromThrowable(withCause(thrown.getStatus()).asRuntimeException());
    }
    try {
      return StatusProto.fromThrowable(thrown);
    } catch (IllegalArgumentException unreadable) {
      return StatusProto.fromThrowable(thrown.getStatus().asRuntimeException());
    }
  }

  /** Adds the cause to the description, in one line: gRPC says only "io exception". */
  private static Status withCause(Status status) {
    Throwable cause = status.getCause();
    while (cause.getCause() != null) {
      cause = cause.getCause();
    }
    String said = status.getDescription() == null ? status.getCode().name() : status.getDescription();
    String why = cause.getMessage() == null ? cause.getClass().getSimpleName() : cause.getMessage();
    return status.withDescription(said.lines().findFirst().orElse("") + ": " + why);
  }

  /** When the service asks to try again; null if it does not, or if the delay is negative. */
  private static Duration retryAfter(RetryInfo retry) {
    com.google.protobuf.Duration delay = retry.getRetryDelay();
    if (!retry.hasRetryDelay() || delay.getSeconds() < 0 || delay.getNanos() < 0) {
      return null;
    }
    return Duration.ofSeconds(Math.min(delay.getSeconds(), MOST_DELAY_SECONDS), delay.getNanos());
  }

  private static <M extends Message> M detail(List<Any> details, Class<M> type, M otherwise) {
    for (Any detail : details) {
      if (detail.is(type)) {
        try {
          return detail.unpack(type);
        } catch (InvalidProtocolBufferException ignored) {
          // Details that cannot be parsed are ignored; the code is known nevertheless.
        }
      }
    }
    return otherwise;
  }

  private static ErrorKind kindOf(int code, String reason) {
    ErrorKind ofCode = Rules.KIND_OF_CODE.getOrDefault(code, Rules.KIND_OTHERWISE);
    ErrorKind ofTransport = reason.isEmpty() ? Rules.KIND_WITHOUT_REASON.getOrDefault(code, ofCode) : ofCode;
    return Rules.KIND_OF_REASON.getOrDefault(reason, ofTransport);
  }

  private static AudienceException of(ErrorKind kind, Failure failure) {
    return switch (kind) {
      case INVALID_REQUEST -> new InvalidRequestException(failure);
      case UNAUTHENTICATED -> new UnauthenticatedException(failure);
      case PERMISSION_DENIED -> new PermissionDeniedException(failure);
      case NOT_FOUND -> new NotFoundException(failure);
      case CONFLICT -> new ConflictException(failure);
      case TOO_LARGE -> new TooLargeException(failure);
      case RATE_LIMITED -> new RateLimitedException(failure);
      case UNAVAILABLE -> new UnavailableException(failure);
      case DEADLINE_EXCEEDED -> new DeadlineExceededException(failure);
      case INTERNAL -> new InternalException(failure);
    };
  }

  /** The message, with the reason and the request ID. */
  String text() {
    String found = requestId.isEmpty() ? "" : " (request " + requestId + ")";
    return (reason.isEmpty() ? code.name() : reason) + ": " + message + found;
  }
}
