package com.instantaudience.client;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Function;

/** The token of a client: got once for all calls, and again when it ends. */
final class Session {
  /** A token, and for how long it lives at most. */
  record Issued(String token, long lifetimeNanos) {}

  private final Function<Deadline, Issued> signIn;
  private String token;
  /** When another token is asked for; what no sign-in has given never ends. */
  private long ends;
  private CompletableFuture<Void> signingIn;
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
    for (;;) {
      CompletableFuture<Void> mine = null;
      CompletableFuture<Void> others;
      synchronized (this) {
        if (isClosed) {
          throw Failure.unavailable("the client is closed", "");
        }
        if (signIn == null || (token != null && System.nanoTime() - ends < 0)) {
          return token;
        }
        others = signingIn;
        if (others == null) {
          mine = new CompletableFuture<>();
          signingIn = mine;
        }
      }
      if (mine != null) {
        return renew(mine, deadline);
      }
      await(others, deadline);
    }
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

  /** The new token, even where it has ended by this machine's clock. */
  private String renew(CompletableFuture<Void> mine, Deadline deadline) {
    Issued issued = null;
    RuntimeException failure = null;
    try {
      issued = signIn.apply(deadline);
      return issued.token();
    } catch (RuntimeException thrown) {
      failure = thrown;
      throw thrown;
    } finally {
      synchronized (this) {
        signingIn = null;
        if (issued != null) {
          token = issued.token();
          // Before it ends, so that no call finds it ended.
          ends = System.nanoTime() + issued.lifetimeNanos() / 100 * Rules.RENEWAL_PERCENT;
        }
      }
      // Another caller may have more time, or may not have given up: only what it would be told as well is told to it.
      if (failure instanceof AudienceException told && !told.isWorthAnotherTry()) {
        mine.completeExceptionally(told);
      } else {
        mine.complete(null);
      }
    }
  }

  private static void await(CompletableFuture<Void> others, Deadline deadline) {
    try {
      others.get(Math.max(0, deadline.leftNanos()), TimeUnit.NANOSECONDS);
    } catch (TimeoutException late) {
      throw Failure.late("the caller's time is over");
    } catch (InterruptedException interrupt) {
      throw Deadline.givenUp();
    } catch (ExecutionException failed) {
      throw (AudienceException) failed.getCause();
    }
  }
}
