package com.instantaudience.client;

import com.instantaudience.v1.AuthenticateResult;
import java.time.Duration;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import java.util.function.LongSupplier;
import java.util.function.Supplier;

/** The token of a client: obtained once for all calls, and renewed before it ends. */
final class Session {
  /** A token, and its maximum lifetime. */
  record Issued(String token, long lifetimeNanos) {
    /**
     * The token in an answer; null if there is none, or one that cannot be sent. Without a lifetime in the answer, it
     * never ends.
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
  private final Shared<String> signingIn;
  private String token;
  /** When the token is to be renewed; one that was given to the client never is. */
  private long ends;
  /** When it ends. */
  private long dies;
  /** Counted down when the client is closed. */
  private final CountDownLatch closed = new CountDownLatch(1);

  /**
   * Without {@code signIn} (null), the given token is used until the service rejects it; it is null if none is needed.
   */
  Session(Function<Deadline, Issued> signIn, String token) {
    this(signIn, token, Retries.DEFAULT, System::nanoTime, () -> null);
  }

  /** {@code why} is the failure of the last attempt to sign in after which another one was to come (null: none). */
  Session(
      Function<Deadline, Issued> signIn,
      String token,
      Retries retries,
      LongSupplier clock,
      Supplier<AudienceException> why) {
    this.signIn = signIn;
    this.token = token;
    this.clock = clock;
    signingIn = new Shared<>(this::obtain, retries, this::sleep, why);
  }

  /**
   * The token for a call; null if none is needed.
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
    String old = due();
    if (old == null) {
      return signingIn.value(this::standing, deadline);
    }
    // The old token is still valid, so no other call waits for the renewal, and this one waits only briefly.
    long brief = Math.min(TimeUnit.SECONDS.toNanos(Rules.RENEWAL_SECONDS), deadline.leftNanos() / 2);
    try {
      return signingIn.value(() -> otherThan(old), Deadline.after(Duration.ofNanos(brief)));
    } catch (AudienceException failure) {
      if (!failure.isWorthAnotherTry()) {
        throw failure;
      }
      String atHand = atHand(failure);
      // If the old token has ended meanwhile, or was rejected, a new one is needed.
      return atHand == null ? signingIn.value(this::standing, deadline) : atHand;
    }
  }

  /** Notes that the service rejected this token; returns whether a new one can be obtained. */
  synchronized boolean refused(String refused) {
    if (signIn == null) {
      return false;
    }
    if (refused != null && refused.equals(token)) {
      token = null;
    }
    return true;
  }

  /** Ends the session: nothing is sent any more. */
  void close() {
    closed.countDown();
  }

  /**
   * Sleeps for this time.
   *
   * @throws UnavailableException the client is closed, or is closed meanwhile.
   * @throws java.util.concurrent.CancellationException the thread was interrupted; its interrupt status is kept.
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

  /** The token, if it is not to be renewed yet; else null. */
  private synchronized String standing() {
    checkOpen();
    return clock.getAsLong() - ends < 0 ? token : null;
  }

  /** The token that stands, if it is not this one; else null. */
  private String otherThan(String old) {
    String standing = standing();
    return old.equals(standing) ? null : standing;
  }

  /** Obtains a new token, and returns it even if it has already ended by this machine's clock. */
  private String obtain(Deadline deadline) {
    Issued issued = signIn.apply(deadline);
    synchronized (this) {
      long now = clock.getAsLong();
      token = issued.token();
      // Before it ends, so that no call uses one that has ended.
      ends = now + issued.lifetimeNanos() / 100 * Rules.RENEWAL_PERCENT;
      dies = now + issued.lifetimeNanos();
    }
    return issued.token();
  }

  /** The token, if it is still valid, but is to be renewed, by this call alone; else null. */
  private synchronized String due() {
    return clock.getAsLong() - ends >= 0 && keep(PAUSE_NANOS) ? token : null;
  }

  /** The old token, if it is still valid, to be used until the next renewal attempt after this failure; else null. */
  private synchronized String atHand(AudienceException failure) {
    boolean isLimited = failure instanceof RateLimitedException;
    return keep(isLimited ? Deadline.nanos(failure.retryAfter().orElse(Duration.ZERO)) : PAUSE_NANOS) ? token : null;
  }

  /** Keeps using a token that is still valid for this time, at most until it ends; whether there is one. */
  private boolean keep(long nanos) {
    long now = clock.getAsLong();
    if (isClosed() || token == null || dies - now <= 0) {
      return false;
    }
    ends = now + Math.min(dies - now, nanos);
    return true;
  }
}
