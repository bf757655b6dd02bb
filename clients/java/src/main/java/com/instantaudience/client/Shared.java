package com.instantaudience.client;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Supplier;

/** A value that one caller obtains for all that wait for it. */
final class Shared<V> {
  private CompletableFuture<Void> getting;

  /**
   * The value that is {@code known} (null: none yet), else the one that {@code get} obtains, after which it is known.
   * Callers wait for each other only until their own deadlines.
   *
   * @throws AudienceException it could not be obtained, or not in time.
   */
  V value(Supplier<V> known, Supplier<V> get, Deadline deadline) {
    for (;;) {
      CompletableFuture<Void> mine = null;
      CompletableFuture<Void> others;
      synchronized (this) {
        V value = known.get();
        if (value != null) {
          return value;
        }
        others = getting;
        if (others == null) {
          mine = new CompletableFuture<>();
          getting = mine;
        }
      }
      if (mine != null) {
        return got(get, mine);
      }
      await(others, deadline);
    }
  }

  private V got(Supplier<V> get, CompletableFuture<Void> mine) {
    RuntimeException failure = null;
    try {
      return get.get();
    } catch (RuntimeException thrown) {
      failure = thrown;
      throw thrown;
    } finally {
      synchronized (this) {
        getting = null;
      }
      // Only errors that the other callers would get as well are shared: they may have more time, or not be cancelled.
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
