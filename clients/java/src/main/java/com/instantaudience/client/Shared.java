package com.instantaudience.client;

import io.grpc.Context;
import java.time.Duration;
import java.util.OptionalLong;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Function;
import java.util.function.LongConsumer;
import java.util.function.Supplier;

/**
 * A value that is obtained once for all callers that wait for it, on a thread of its own. Callers that give up do not
 * end that: what takes longer than any of them waits would never be had.
 */
final class Shared<V> {
  /** What callers wait for, with a deadline of its own; {@code before} is what {@code why} was when it began. */
  private record Getting<V>(CompletableFuture<V> result, Deadline deadline, AudienceException before) {}

  private final Function<Deadline, V> get;
  private final Retries retries;
  private final LongConsumer sleep;
  private final Supplier<AudienceException> why;
  /** Null if nothing is under way. */
  private Getting<V> getting;

  /**
   * {@code get} obtains the value, after which it is known; {@code sleep} pauses, for so many nanoseconds, before that is
   * tried again; {@code why} is the failure of the last of its attempts after which another one was to come, or null.
   */
  Shared(Function<Deadline, V> get, Retries retries, LongConsumer sleep, Supplier<AudienceException> why) {
    this.get = get;
    this.retries = retries;
    this.sleep = sleep;
    this.why = why;
  }

  /**
   * The value that is {@code known} (null: none yet), else the one that is obtained. Callers wait for that only until
   * their own deadlines.
   *
   * @throws AudienceException it could not be obtained, or its last attempt in this time failed; else
   *     DeadlineExceededException.
   * @throws java.util.concurrent.CancellationException the thread was interrupted; its interrupt status is kept.
   */
  V value(Supplier<V> known, Deadline deadline) {
    for (int failures = 0; ; failures++) {
      Getting<V> underWay;
      synchronized (this) {
        V value = known.get();
        if (value != null) {
          return value;
        }
        if (getting == null) {
          getting = begin(deadline);
        }
        underWay = getting;
      }
      try {
        return await(underWay, deadline);
      } catch (AudienceException failure) {
        OptionalLong pause = retries.pauseNanos(failure, failures);
        long left = deadline.leftNanos();
        // Who has no more time than was spent on it would get this failure as well.
        if (pause.isEmpty() || pause.getAsLong() >= left || left <= underWay.deadline().leftNanos()) {
          throw failure;
        }
        sleep.accept(pause.getAsLong());
      }
    }
  }

  private Getting<V> begin(Deadline callers) {
    Deadline.check();
    if (callers.leftNanos() <= 0) {
      throw Failure.late("the caller's time was over before it could be sent");
    }
    Deadline own = Deadline.after(Duration.ofMillis(Rules.DEADLINE_MS));
    var begun = new Getting<V>(new CompletableFuture<>(), own, why.get());
    // With the caller's values in gRPC's context, but not with its cancellation.
    Thread thread = new Thread(Context.current().fork().wrap(() -> run(begun)), "instantaudience-shared");
    thread.setDaemon(true);
    thread.start();
    return begun;
  }

  private void run(Getting<V> mine) {
    V value = null;
    Throwable failure = null;
    try {
      value = get.apply(mine.deadline());
    } catch (Throwable thrown) { // Whatever it is, it is thrown on, on the callers' threads.
      failure = thrown;
    }
    synchronized (this) {
      getting = null;
    }
    if (failure == null) {
      mine.result().complete(value);
    } else {
      mine.result().completeExceptionally(failure);
    }
  }

  private V await(Getting<V> underWay, Deadline deadline) {
    try {
      return underWay.result().get(Math.max(0, deadline.leftNanos()), TimeUnit.NANOSECONDS);
    } catch (TimeoutException late) {
      AudienceException failure = why.get();
      throw failure == null || failure == underWay.before() ? Failure.late("the caller's time is over") : failure;
    } catch (InterruptedException interrupt) {
      throw Deadline.givenUp();
    } catch (ExecutionException failed) {
      if (failed.getCause() instanceof Error error) {
        throw error;
      }
      throw (RuntimeException) failed.getCause();
    }
  }
}
