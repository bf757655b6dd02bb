package com.instantaudience.client;

import java.time.Duration;
import java.util.OptionalLong;
import java.util.concurrent.ThreadLocalRandom;

/**
 * The pauses before retries. The first pause is random between 0 and {@code firstPause}; the maximum doubles each time,
 * up to {@code mostPause}. A delay that the service asks for is added.
 *
 * @param firstPause the maximum pause before the second attempt.
 * @param mostPause the upper bound of the pauses, not counting delays that the service asks for.
 * @param attempt the timeout of one attempt; one that hangs is abandoned, and the next one begins.
 */
public record Retries(Duration firstPause, Duration mostPause, Duration attempt) {
  /** Pauses from 100 ms to 5 s; 10 s for an attempt. */
  public static final Retries DEFAULT =
      new Retries(
          Duration.ofMillis(Rules.FIRST_PAUSE_MS),
          Duration.ofMillis(Rules.MOST_PAUSE_MS),
          Duration.ofMillis(Rules.ATTEMPT_MS));

  private static final int MOST_DOUBLINGS = 30;

  /** @throws IllegalArgumentException a pause is negative, or the timeout is not positive. */
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

  /** The pause after an attempt (the first is 0) that failed with this error; empty if it is not to be retried. */
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
