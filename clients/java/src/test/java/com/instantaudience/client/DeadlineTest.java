package com.instantaudience.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.grpc.Status;
import java.time.Duration;
import java.time.temporal.ChronoUnit;
import java.util.Map;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

/** Times that are longer than a count of nanoseconds has room for, 292 years. */
class DeadlineTest {
  private static final Duration FOREVER = ChronoUnit.FOREVER.getDuration();

  @Test
  void aDeadlineMayBeNever() {
    assertTrue(Deadline.after(FOREVER).leftNanos() > Duration.ofDays(100_000).toNanos());
  }

  @Test
  void aDeadlineMayBeOverForEver() {
    AtomicLong clock = new AtomicLong();
    Deadline deadline = Deadline.after(Duration.ofSeconds(Long.MIN_VALUE), clock::incrementAndGet);
    assertTrue(deadline.leftNanos() < 0);
  }

  @Test
  void aPauseMayBeForEver() {
    Failure failure = new Failure(Status.Code.UNAVAILABLE, "busy", "", "", FOREVER, Map.of(), null);
    Retries retries = new Retries(FOREVER, FOREVER, FOREVER);
    assertEquals(Long.MAX_VALUE, retries.pauseNanos(new UnavailableException(failure), 3).getAsLong());
  }

  @Test
  void noTimeOfRetriesIsBelowZeroAndAnAttemptTakesSome() {
    Duration second = Duration.ofSeconds(1);
    Duration below = second.negated();
    assertRefused("firstPause is PT-1S: a pause is 0 at least", () -> new Retries(below, second, second));
    assertRefused("mostPause is PT-1S: a pause is 0 at least", () -> new Retries(second, below, second));
    assertRefused("attempt is PT0S: an attempt takes more than 0", () -> new Retries(second, second, Duration.ZERO));
  }

  private static void assertRefused(String text, Executable made) {
    assertEquals(text, assertThrows(IllegalArgumentException.class, made).getMessage());
  }
}
