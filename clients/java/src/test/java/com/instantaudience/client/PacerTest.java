package com.instantaudience.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CancellationException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;

/** No more is sent than the member's quota allows. */
class PacerTest {
  private static final int RUNS = 50;
  private static final int REQUESTS = 60;
  private static final long SECOND = TimeUnit.SECONDS.toNanos(1);

  private static Limits limits(int postsPerSecond, int usersPerSecond) {
    return new Limits(1000, 100, 1_000_000, postsPerSecond, usersPerSecond, 1000);
  }

  @Test
  void inAnySecondThereAreAtMostAsManyRequestsWithAsManyUsersAsTheLimitsSay() {
    Random random = new Random(11);
    for (int run = 0; run < RUNS; run++) {
      Limits limits = limits(1 + random.nextInt(5), 10 + random.nextInt(41));
      AtomicLong now = new AtomicLong();
      Pacer pacer = new Pacer(now::get, nanos -> {});
      List<Pacer.Turn> sent = new ArrayList<>();
      long last = 0;
      for (int request = 0; request < REQUESTS; request++) {
        now.addAndGet(random.nextLong(SECOND / 3));
        int users = 1 + random.nextInt(10);
        Pacer.Turn turn = pacer.turn(users, limits, Long.MAX_VALUE);
        long at = turn.at();
        if (at > now.get() && random.nextInt(4) == 0) { // Who has not gone may give up.
          pacer.giveBack(turn);
          continue;
        }
        assertTrue(at >= last);
        last = at;
        sent.add(turn);
        List<Pacer.Turn> inSecond = sent.stream().filter(other -> other.at() > at - SECOND).toList();
        assertTrue(inSecond.size() <= limits.postsPerSecond());
        assertTrue(inSecond.stream().mapToInt(Pacer.Turn::users).sum() <= limits.usersPerSecond());
      }
    }
  }

  @Test
  void whatMayNotGoInTimeIsRefusedAndTakesNoTurn() {
    Pacer pacer = new Pacer(() -> 0, nanos -> {});
    Limits limits = limits(1, 1000);
    assertEquals(0, pacer.turn(1, limits, SECOND / 2).at());
    assertThrows(DeadlineExceededException.class, () -> pacer.turn(1, limits, SECOND / 2));
    assertEquals(SECOND, pacer.turn(1, limits, 2 * SECOND).at());
  }

  @Test
  void whoGivesUpWhileItWaitsLeavesItsTurnToThoseWhoComeLater() {
    AtomicLong now = new AtomicLong();
    Pacer pacer = new Pacer(now::get, nanos -> {
      throw new CancellationException();
    });
    Limits limits = limits(2, 1000);
    Deadline deadline = Deadline.after(Duration.ofDays(1));
    pacer.await(1, limits, deadline);
    pacer.await(1, limits, deadline);
    for (int call = 0; call < REQUESTS; call++) {
      assertThrows(CancellationException.class, () -> pacer.await(1, limits, deadline));
    }
    now.set(SECOND / 2);
    assertEquals(SECOND, pacer.turn(1, limits, Long.MAX_VALUE).at());
    assertEquals(SECOND, pacer.turn(1, limits, Long.MAX_VALUE).at());
    assertEquals(2 * SECOND, pacer.turn(1, limits, Long.MAX_VALUE).at());
  }
}
