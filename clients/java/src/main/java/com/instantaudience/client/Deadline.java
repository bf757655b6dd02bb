package com.instantaudience.client;

import java.time.Duration;
import java.util.concurrent.CancellationException;
import java.util.concurrent.TimeUnit;
import java.util.function.LongSupplier;

/** The deadline of a call. Calls also end when the caller's thread is interrupted. */
final class Deadline {
  private final LongSupplier clock;
  private final long ends;

  private Deadline(LongSupplier clock, long ends) {
    this.clock = clock;
    this.ends = ends;
  }

  static Deadline after(Duration time) {
    return after(time, System::nanoTime);
  }

  static Deadline after(Duration time, LongSupplier clock) {
    long nanos = Math.max(0, nanos(time)); // The longest ago would become never: its difference to now has no room.
    return new Deadline(clock, clock.getAsLong() + nanos);
  }

  /** This deadline, so much later, but not if that is negative; at most this time from now. */
  Deadline later(long nanos, Duration most) {
    return new Deadline(clock, ends + Math.max(0, Math.min(nanos, nanos(most) - leftNanos())));
  }

  /** A duration in nanoseconds, at most the largest that fits, 292 years. */
  static long nanos(Duration time) {
    return TimeUnit.NANOSECONDS.convert(time);
  }

  long leftNanos() {
    return ends - clock.getAsLong();
  }

  /** @throws CancellationException the thread is interrupted. */
  static void check() {
    if (Thread.currentThread().isInterrupted()) {
      throw givenUp();
    }
  }

  /** The exception for a caller whose thread was interrupted. */
  static CancellationException givenUp() {
    Thread.currentThread().interrupt();
    return new CancellationException("the calling thread was interrupted");
  }
}
