package com.instantaudience.client;

import com.instantaudience.v1.AuthenticateRequest;
import com.instantaudience.v1.AuthenticateWithJwtRequest;
import com.instantaudience.v1.AuthenticationServiceGrpc;
import com.instantaudience.v1.CatalogServiceGrpc;
import com.instantaudience.v1.GetMemberRequest;
import com.instantaudience.v1.GetUserRequest;
import com.instantaudience.v1.Member;
import com.instantaudience.v1.RtSegment;
import com.instantaudience.v1.User;
import io.grpc.ManagedChannel;
import java.time.Duration;
import java.time.Instant;
import java.util.Iterator;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.function.LongSupplier;
import java.util.function.Supplier;

/** What all calls of a client share: the channel, the token, the member's limits and its pacing. */
final class Connection {
  private static final boolean IS_REPEATABLE = true; // A token too many does no harm.

  private final ManagedChannel channel;
  private final Session session;
  /** The session of sign-in calls, which need no token. */
  private final Session publicSession = new Session(null, null);
  private final Calling calling;
  private final Calling publicCalling;
  private final Pacer pacer;
  private final Pacer reading;
  private final int window;
  private final LongSupplier clock;
  private final Shared<Limits> asking;
  /** Null until they are known. */
  private volatile Limits limits;

  /**
   * {@code limits} is null if they are to be requested from the service, {@code credentials} if there are none. {@code
   * clock} is that of streams' patience.
   */
  Connection(
      ManagedChannel channel,
      Credentials credentials,
      Limits limits,
      Retries retries,
      int window,
      Consumer<Attempt> onAttempt,
      LongSupplier clock) {
    this.channel = channel;
    this.limits = limits;
    this.window = window;
    this.clock = clock;
    session = credentials instanceof Credentials.Token given
        ? new Session(null, given.token())
        : new Session(signIn(credentials), null, retries, System::nanoTime, this::whyNoToken);
    asking = new Shared<>(this::obtainLimits, retries, session::sleep, this::whyNoLimits);
    pacer = new Pacer(System::nanoTime, session::sleep);
    reading = new Pacer(System::nanoTime, session::sleep);
    calling = new Calling(channel, session, retries, onAttempt);
    publicCalling = new Calling(channel, publicSession, retries, onAttempt);
  }

  Calling calling() {
    return calling;
  }

  Pacer pacer() {
    return pacer;
  }

  /** The pacer of requests that read users. */
  Pacer reading() {
    return reading;
  }

  void close() {
    session.close();
    publicSession.close();
    channel.shutdownNow();
  }

  void stream(Iterator<RtSegment> users, Consumer<StreamResult> results, Duration patience) {
    Limits known = limits(Deadline.after(patience));
    new Streaming(calling, pacer, known, window, patience, clock, results).apply(users);
  }

  /** @throws UnavailableException the client is closed. */
  void checkOpen() {
    session.checkOpen();
  }

  /** The member's limits: as given to the client, or as requested from the service, once. */
  Limits limits(Deadline deadline) {
    checkOpen();
    return asking.value(() -> limits, deadline);
  }

  private Limits obtainLimits(Deadline deadline) {
    limits = askLimits(deadline);
    return limits;
  }

  private AudienceException whyNoLimits() {
    AudienceException own = calling.failure();
    return own == null ? whyNoToken() : own;
  }

  private AudienceException whyNoToken() {
    return publicCalling.failure();
  }

  private Limits askLimits(Deadline deadline) {
    String token = session.token(deadline);
    if (token == null) {
      return Limits.DEFAULT;
    }
    GetUserRequest caller = GetUserRequest.newBuilder().setId(userOf(token)).build();
    User user = calling.call(
        CatalogServiceGrpc.getGetUserMethod(), caller, deadline, answer -> answer.hasUser() ? answer.getUser() : null);
    GetMemberRequest asked = GetMemberRequest.newBuilder().setId(user.getMemberId()).build();
    Member member = calling.call(
        CatalogServiceGrpc.getGetMemberMethod(),
        asked,
        deadline,
        answer -> answer.hasMember() ? answer.getMember() : null);
    return Limits.of(member.getLimits());
  }

  /** The user ID in a token: {@code hbapi:<user id>:<random hex>:<location>}. */
  private static int userOf(String token) {
    String[] words = token.split(":");
    try {
      return Integer.parseInt(words.length > 1 ? words[1] : "");
    } catch (NumberFormatException none) {
      throw Failure.invalid("the token is none of this service's");
    }
  }

  /** How to obtain a token; null if none is needed. */
  private Function<Deadline, Session.Issued> signIn(Credentials credentials) {
    if (credentials instanceof Credentials.Password account) {
      AuthenticateRequest.Builder request = AuthenticateRequest.newBuilder();
      request.getAuthBuilder().setUsername(account.username()).setPassword(account.password());
      var method = AuthenticationServiceGrpc.getAuthenticateMethod();
      return deadline -> publicCalling.call(
          method, request.build(), deadline, answer -> Session.Issued.by(answer.getResponse()), IS_REPEATABLE);
    }
    if (credentials instanceof Credentials.KeyPair pair) {
      var method = AuthenticationServiceGrpc.getAuthenticateWithJwtMethod();
      Supplier<AuthenticateWithJwtRequest> requested = () -> AuthenticateWithJwtRequest.newBuilder()
          .setJwt(Assertion.of(pair, Instant.now().getEpochSecond()))
          .build();
      return deadline -> publicCalling.callAnew(
          method, requested, deadline, answer -> Session.Issued.by(answer.getResponse()), IS_REPEATABLE);
    }
    return null;
  }
}
