package com.instantaudience.client;

import com.instantaudience.v1.AuthenticateResult;
import java.time.Duration;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import java.util.function.LongSupplier;

/** The token of a client: got once for all calls, and again when it ends. */
final class Session {
  /** A token, and for how long it lives at most. */
  record Issued(String token, long lifetimeNanos) {
    /**
     * The token of an answer; null where there is none, or none that can be sent. Where nothing is said of its life,
     * nobody knows of an end.
     */
    static Issued by(AuthenticateResult result) {
      String token = result.getToken();
      if (token.isEmpty() || !Credentials.Token.canBeSent(token)) {
        return null;
      }
      long seconds = result.hasLifetime() ? Math.max(0, result.getLifetime().getSeconds()) : Long.MAX_VALUE;
      return new Issued(token, TimeUnit.SECONDS.toNanos(seconds));
    }
  }

  private static final long PAUSE_NANOS = TimeUnit.SECONDS.toNanos(Rules.RENEWAL_PAUSE_SECONDS);

  private final Function<Deadline, Issued> signIn;
  private final LongSupplier clock;
  private final Shared<String> signingIn = new Shared<>();
  private String token;
  /** When another token is asked for; what no sign-in has given never ends. */
  private long ends;
  /** When the one at hand ends. */
  private long dies;
  /** Whether its client is. */
  private final CountDownLatch closed = new CountDownLatch(1);

  /** Without {@code signIn} (null), the token is used as long as the service takes it; null where none is needed. */
  Session(Function<Deadline, Issued> signIn, String token) {
    this(signIn, token, System::nanoTime);
  }

  Session(Function<Deadline, Issued> signIn, String token, LongSupplier clock) {
    this.signIn = signIn;
    this.token = token;
    this.clock = clock;
  }

  /**
   * The token to call with; null where none is needed.
   *
   * @throws AudienceException signing in failed.
   */
  String token(Deadline deadline) {
    if (signIn == null) {
      synchronized (this) {
        checkOpen();
        return token;
      }
    }
    return signingIn.value(this::standing, () -> renew(deadline), deadline);
  }

  /** The service did not take this token; whether another one can be had. */
  synchronized boolean refused(String refused) {
    if (signIn == null) {
      return false;
    }
    if (refused != null && refused.equals(token)) {
      token = null;
    }
    return true;
  }

  /** There is no token any more: nothing is sent, or sent again. */
  void close() {
    closed.countDown();
  }

  /**
   * Waits so long.
   *
   * @throws UnavailableException the client is closed; meanwhile, too.
   * @throws java.util.concurrent.CancellationException the thread was interrupted; it stays so.
   */
  void sleep(long nanos) {
    try {
      closed.await(nanos, TimeUnit.NANOSECONDS);
    } catch (InterruptedException interrupt) {
      throw Deadline.givenUp();
    }
    checkOpen();
  }

  /** @throws UnavailableException the client is closed. */
  void checkOpen() {
    if (isClosed()) {
      throw Failure.unavailable("the client is closed", "");
    }
  }

  private boolean isClosed() {
    return closed.getCount() == 0;
  }

  /** The token, where it has not ended; else null. */
  private synchronized String standing() {
    checkOpen();
    return clock.getAsLong() - ends < 0 ? token : null;
  }

  /** The new token, even where it has ended by this machine's clock. */
  private String renew(Deadline deadline) {
    Deadline bound = bound(deadline);
    Issued issued;
    try {
      issued = signIn.apply(bound);
    } catch (AudienceException failure) {
      if (bound == deadline || !failure.isWorthAnotherTry()) {
        throw failure;
      }
      String atHand = atHand(failure);
      // Where it has ended meanwhile, or was refused, there is none but another one now.
      return atHand == null ? renew(deadline) : atHand;
    }
    synchronized (this) {
      long now = clock.getAsLong();
      token = issued.token();
      // Before it ends, so that no call finds it ended.
      ends = now + issued.lifetimeNanos() / 100 * Rules.RENEWAL_PERCENT;
      dies = now + issued.lifetimeNanos();
    }
    return issued.token();
  }

  /**
   * How long signing in may take. A token is good as long as it lives: where there is one, nobody else waits for another
   * one, and this call does not for long.
   */
  private synchronized Deadline bound(Deadline deadline) {
    if (!keep(PAUSE_NANOS)) {
      return deadline;
    }
    long most = TimeUnit.SECONDS.toNanos(Rules.RENEWAL_SECONDS);
    return Deadline.after(Duration.ofNanos(Math.min(most, deadline.leftNanos() / 2)));
  }

  /** The token that there is, where it lives, till signing in that failed so is worth another try; else null. */
  private synchronized String atHand(AudienceException failure) {
    boolean isLimited = failure instanceof RateLimitedException;
    return keep(isLimited ? Deadline.nanos(failure.retryAfter().orElse(Duration.ZERO)) : PAUSE_NANOS) ? token : null;
  }

  /** Has the token that there is be used for so long, at most, where it lives; whether it does. */
  private boolean keep(long nanos) {
    long now = clock.getAsLong();
    if (isClosed() || token == null || dies - now <= 0) {
      return false;
    }
    ends = now + Math.min(dies - now, nanos);
    return true;
  }
}
