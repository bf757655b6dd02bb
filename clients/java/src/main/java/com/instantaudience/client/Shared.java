package com.instantaudience.client;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Supplier;

/** What one caller gets for all who come meanwhile. */
final class Shared<V> {
  private CompletableFuture<Void> getting;

  /**
   * What is {@code known} (null: nothing), or else what {@code get} gets and has known then; whoever waits for another's
   * waits no longer than its own time.
   *
   * @throws AudienceException it could not be got, or not in time.
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
