package com.instantaudience.client;

import java.time.Duration;
import java.util.concurrent.CancellationException;
import java.util.concurrent.TimeUnit;

/** What ends a call before its answer: the caller's time, and an interrupt of the caller's thread. */
final class Deadline {
  private final long ends;

  private Deadline(long ends) {
    this.ends = ends;
  }

  static Deadline after(Duration time) {
    return new Deadline(System.nanoTime() + nanos(time));
  }

  /** A time in nanoseconds, or the most that there can be of them, 292 years. */
  static long nanos(Duration time) {
    return TimeUnit.NANOSECONDS.convert(time);
  }

  long leftNanos() {
    return ends - System.nanoTime();
  }

  /** @throws CancellationException the caller has given up. */
  static void check() {
    if (Thread.currentThread().isInterrupted()) {
      throw givenUp();
    }
  }

  /** What the caller gets whose thread was interrupted. */
  static CancellationException givenUp() {
    Thread.currentThread().interrupt();
    return new CancellationException("the calling thread was interrupted");
  }
}
