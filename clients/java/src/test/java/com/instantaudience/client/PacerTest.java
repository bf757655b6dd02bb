package com.instantaudience.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;

/** No more is sent than the member's quota allows. */
class PacerTest {
  private static final int RUNS = 50;
  private static final int REQUESTS = 60;
  private static final long SECOND = TimeUnit.SECONDS.toNanos(1);

  private record Sent(long at, int users) {}

  private static Limits limits(int postsPerSecond, int usersPerSecond) {
    return new Limits(1000, 100, 1_000_000, postsPerSecond, usersPerSecond);
  }

  @Test
  void inAnySecondThereAreAtMostAsManyRequestsWithAsManyUsersAsTheLimitsSay() {
    Random random = new Random(11);
    for (int run = 0; run < RUNS; run++) {
      Limits limits = limits(1 + random.nextInt(5), 10 + random.nextInt(41));
      AtomicLong now = new AtomicLong();
      Pacer pacer = new Pacer(now::get);
      List<Sent> sent = new ArrayList<>();
      long last = 0;
      for (int request = 0; request < REQUESTS; request++) {
        now.addAndGet(random.nextLong(SECOND / 3));
        int users = 1 + random.nextInt(10);
        long at = now.get() + pacer.turn(users, limits, Long.MAX_VALUE);
        assertTrue(at >= last);
        last = at;
        sent.add(new Sent(at, users));
        List<Sent> inSecond = sent.stream().filter(other -> other.at() > at - SECOND).toList();
        assertTrue(inSecond.size() <= limits.postsPerSecond());
        assertTrue(inSecond.stream().mapToInt(Sent::users).sum() <= limits.usersPerSecond());
      }
    }
  }

  @Test
  void whatMayNotGoInTimeIsRefusedAndTakesNoTurn() {
    Pacer pacer = new Pacer(() -> 0);
    Limits limits = limits(1, 1000);
    assertEquals(0, pacer.turn(1, limits, SECOND / 2));
    assertThrows(DeadlineExceededException.class, () -> pacer.turn(1, limits, SECOND / 2));
    assertEquals(SECOND, pacer.turn(1, limits, 2 * SECOND));
  }
}
