package com.instantaudience.client;

import java.time.Duration;
import java.util.OptionalLong;
import java.util.concurrent.ThreadLocalRandom;

/**
 * How long to wait before a call is sent again: the first time somewhere up to {@code firstPause}, each time up to twice
 * as long, at most {@code mostPause}; never less than what the service asks for, with a little more, so that not all come
 * at once.
 *
 * @param firstPause the most to wait before the second attempt.
 * @param mostPause the most to wait at all, but for what the service asks for.
 * @param attempt what one attempt may take: one that hangs is given up, and the next one begins.
 */
public record Retries(Duration firstPause, Duration mostPause, Duration attempt) {
  /** Up to 100 ms, 5 s at most; 10 s for an attempt. */
  public static final Retries DEFAULT =
      new Retries(
          Duration.ofMillis(Rules.FIRST_PAUSE_MS),
          Duration.ofMillis(Rules.MOST_PAUSE_MS),
          Duration.ofMillis(Rules.ATTEMPT_MS));

  private static final int MOST_DOUBLINGS = 30;

  /** @throws IllegalArgumentException a pause is below 0, or an attempt may take no time. */
  public Retries {
    checkPause("firstPause", firstPause);
    checkPause("mostPause", mostPause);
    if (attempt.isNegative() || attempt.isZero()) {
      throw new IllegalArgumentException("attempt is " + attempt + ": an attempt takes more than 0");
    }
  }

  private static void checkPause(String name, Duration pause) {
    if (pause.isNegative()) {
      throw new IllegalArgumentException(name + " is " + pause + ": a pause is 0 at least");
    }
  }

  /** How long to wait after the attempt (the first is 0) that failed so; empty where it is not to be repeated. */
  OptionalLong pauseNanos(AudienceException failure, int attempt) {
    if (!failure.isWorthAnotherTry()) {
      return OptionalLong.empty();
    }
    double doubled = Deadline.nanos(firstPause) * Math.pow(2, Math.min(attempt, MOST_DOUBLINGS));
    double most = Math.min(Deadline.nanos(mostPause), doubled);
    double asked = Deadline.nanos(failure.retryAfter().orElse(Duration.ZERO));
    return OptionalLong.of((long) (asked + ThreadLocalRandom.current().nextDouble() * most));
  }
}
