package com.instantaudience.client;

import com.instantaudience.v1.ErrorCause;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientInterceptors;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.MetadataUtils;
import java.security.SecureRandom;
import java.time.Duration;
import java.util.HexFormat;
import java.util.OptionalLong;
import java.util.concurrent.CancellationException;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.function.Supplier;

/** Makes calls over a channel. */
final class Calling {
  private static final Metadata.Key<String> REQUEST_ID = key("x-request-id");
  private static final Metadata.Key<String> AUTHORIZATION = key("authorization");
  private static final SecureRandom RANDOM = new SecureRandom();
  private static final int ID_BYTES = 16;
  /** Prefix of {@link ErrorCause}'s names, which ErrorInfo's metadata omits. */
  private static final String CAUSE_PREFIX = "ERROR_CAUSE_";

  private final ManagedChannel channel;
  private final Session session;
  private final Retries retries;
  private final Consumer<Attempt> onAttempt;
  private volatile AudienceException failure;

  Calling(ManagedChannel channel, Session session, Retries retries, Consumer<Attempt> onAttempt) {
    this.channel = channel;
    this.session = session;
    this.retries = retries;
    this.onAttempt = onAttempt;
  }

  Session session() {
    return session;
  }

  Retries retries() {
    return retries;
  }

  /** The failure of the last attempt after which another one was to come; null if there is none. */
  AudienceException failure() {
    return failure;
  }

  /**
   * Calls a method, and retries the call if the proto file declares the method idempotent; returns the answer's
   * content.
   */
  <Q, A, S> S call(MethodDescriptor<Q, A> method, Q request, Deadline deadline, Function<A, S> read) {
    return call(method, request, deadline, read, method.isSafe() || method.isIdempotent());
  }

  /**
   * Calls a method and returns the answer's content, extracted by {@code read}; null content is a failure. If {@code
   * isRepeatable}, the method may be executed twice, so the call is retried whenever that is useful; otherwise only if
   * it was refused.
   *
   * @throws AudienceException the call failed.
   * @throws CancellationException the thread was interrupted; its interrupt status is kept.
   */
  <Q, A, S> S call(
      MethodDescriptor<Q, A> method, Q request, Deadline deadline, Function<A, S> read, boolean isRepeatable) {
    return callAnew(method, () -> request, deadline, read, isRepeatable);
  }

  /**
   * Like {@code call}, with a request that is made for each attempt, since it does not hold as long as the call may
   * take. What {@code requested} throws ends the call, too.
   *
   * @throws AudienceException the call failed.
   * @throws CancellationException the thread was interrupted; its interrupt status is kept.
   */
  <Q, A, S> S callAnew(
      MethodDescriptor<Q, A> method,
      Supplier<Q> requested,
      Deadline deadline,
      Function<A, S> read,
      boolean isRepeatable) {
    String requestId = newRequestId();
    boolean isRenewed = false;
    for (int number = 1; ; number++) {
      String token = session.token(deadline);
      Q request = requested.get();
      S said = null;
      AudienceException failure = null;
      Deadline.check();
      long left = deadline.leftNanos();
      if (left <= 0) {
        throw Failure.late("the caller's time was over before it could be sent");
      }
      CallOptions options = CallOptions.DEFAULT.withDeadlineAfter(
          Math.min(left, Deadline.nanos(retries.attempt())), TimeUnit.NANOSECONDS);
      long began = System.nanoTime();
      try {
        said = read.apply(ClientCalls.blockingUnaryCall(channel(token, requestId), method, options, request));
        failure = said == null ? Failure.saysNothing(requestId) : null;
      } catch (StatusRuntimeException thrown) {
        failure = Failure.ofCall(thrown, requestId);
      }
      tell(method, number, began, requestId, failure);
      if (failure == null) {
        return said;
      }
      Deadline.check();
      session.checkOpen();
      if (!(failure instanceof UnauthenticatedException)) {
        if (!isRepeatable && !wasRefused(failure)) {
          throw failure;
        }
        this.failure = failure;
        pause(failure, number - 1, deadline);
        if (deadline.leftNanos() <= 0) {
          throw failure;
        }
      } else if (isRenewed || !isRenewable(failure, token)) {
        throw failure;
      } else {
        isRenewed = true;
      }
    }
  }

  /** Whether a failed call may be retried with another token; if so, the old one is discarded. */
  boolean isRenewable(AudienceException failure, String token) {
    return failure.reason().equals(Rules.RENEWED_REASON) && session.refused(token);
  }

  /**
   * Sleeps until a retry is due, after the attempt with this number (the first is 0); returns how many nanoseconds that
   * was to take.
   *
   * @throws AudienceException the failure, if it is not to be retried, or not before the deadline.
   */
  long pause(AudienceException failure, int attempt, Deadline deadline) {
    OptionalLong pause = retries.pauseNanos(failure, attempt);
    if (pause.isEmpty() || pause.getAsLong() >= deadline.leftNanos()) {
      throw failure;
    }
    session.sleep(pause.getAsLong());
    // The pause is determined here, so the channel's own backoff is reset.
    channel.resetConnectBackoff();
    return pause.getAsLong();
  }

  /** The channel for a call with this token (null if none is needed) and this ID. */
  Channel channel(String token, String requestId) {
    Metadata sent = new Metadata();
    sent.put(REQUEST_ID, requestId);
    if (token != null) {
      sent.put(AUTHORIZATION, token);
    }
    return ClientInterceptors.intercept(channel, MetadataUtils.newAttachHeadersInterceptor(sent));
  }

  /** Reports the result of an attempt to the observer; {@code failure} is null if it succeeded. */
  void tell(MethodDescriptor<?, ?> method, int number, long began, String requestId, AudienceException failure) {
    if (onAttempt != null) {
      Status.Code code = failure == null ? Status.Code.OK : failure.code();
      String reason = failure == null ? "" : failure.reason();
      Duration took = Duration.ofNanos(System.nanoTime() - began);
      onAttempt.accept(new Attempt(method.getFullMethodName(), number, code, reason, took, requestId));
    }
  }

  /** An ID for a call in the service's log. */
  static String newRequestId() {
    byte[] id = new byte[ID_BYTES];
    RANDOM.nextBytes(id);
    return HexFormat.of().formatHex(id);
  }

  /** Whether a call with this error certainly changed nothing. */
  private static boolean wasRefused(AudienceException failure) {
    String overloaded = ErrorCause.ERROR_CAUSE_OVERLOADED.name().substring(CAUSE_PREFIX.length());
    return failure instanceof RateLimitedException || overloaded.equals(failure.metadata().get("cause"));
  }

  private static Metadata.Key<String> key(String name) {
    return Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER);
  }
}
