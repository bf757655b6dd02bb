package com.instantaudience.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.grpc.Status;
import java.time.Duration;
import java.time.temporal.ChronoUnit;
import java.util.Map;
import org.junit.jupiter.api.Test;

/** Times that are longer than a count of nanoseconds has room for, 292 years. */
class DeadlineTest {
  private static final Duration FOREVER = ChronoUnit.FOREVER.getDuration();

  @Test
  void aDeadlineMayBeNever() {
    assertTrue(Deadline.after(FOREVER).leftNanos() > Duration.ofDays(100_000).toNanos());
  }

  @Test
  void aPauseMayBeForEver() {
    Failure failure = new Failure(Status.Code.UNAVAILABLE, "busy", "", "", FOREVER, Map.of(), null);
    Retries retries = new Retries(FOREVER, FOREVER, FOREVER);
    assertEquals(Long.MAX_VALUE, retries.pauseNanos(new UnavailableException(failure), 3).getAsLong());
  }
}
