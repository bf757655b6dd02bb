package com.instantaudience.client;

import java.util.function.Function;

/** The token of a client: got once for all calls, and again when it ends. */
final class Session {
  /** A token, and for how long it lives at most. */
  record Issued(String token, long lifetimeNanos) {}

  private final Function<Deadline, Issued> signIn;
  private final Shared<String> signingIn = new Shared<>();
  private String token;
  /** When another token is asked for; what no sign-in has given never ends. */
  private long ends;
  private boolean isClosed;

  /** Without {@code signIn} (null), the token is used as long as the service takes it; null where none is needed. */
  Session(Function<Deadline, Issued> signIn, String token) {
    this.signIn = signIn;
    this.token = token;
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
  synchronized void close() {
    isClosed = true;
  }

  /** The token, where it has not ended; else null. */
  private synchronized String standing() {
    checkOpen();
    return System.nanoTime() - ends < 0 ? token : null;
  }

  private void checkOpen() {
    if (isClosed) {
      throw Failure.unavailable("the client is closed", "");
    }
  }

  /** The new token, even where it has ended by this machine's clock. */
  private String renew(Deadline deadline) {
    Issued issued = signIn.apply(deadline);
    synchronized (this) {
      token = issued.token();
      // Before it ends, so that no call finds it ended.
      ends = System.nanoTime() + issued.lifetimeNanos() / 100 * Rules.RENEWAL_PERCENT;
    }
    return issued.token();
  }
}
