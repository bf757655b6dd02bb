package com.instantaudience.client;

import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Iterator;
import java.util.concurrent.TimeUnit;
import java.util.function.LongSupplier;

/** Lets requests go, in the order they ask; in any second at most as many, with as many users, as the limits say. */
final class Pacer {
  private static final long WINDOW_NANOS = TimeUnit.MILLISECONDS.toNanos(Rules.QUOTA_WINDOW_MS);

  /** When a request has gone, or will go, and how many users it has. */
  private record Turn(long at, int users) {}

  private final LongSupplier clock;
  /** Those of the last second before the last one's turn. */
  private final Deque<Turn> turns = new ArrayDeque<>();
  private int users;

  Pacer() {
    this(System::nanoTime);
  }

  Pacer(LongSupplier clock) {
    this.clock = clock;
  }

  /**
   * Waits until a request with so many users may go.
   *
   * @throws AudienceException it may not in time; nothing is sent.
   */
  void await(int count, Limits limits, Deadline deadline) {
    long wait = turn(count, limits, deadline.leftNanos());
    if (wait > 0) {
      Deadline.sleep(wait);
    }
  }

  /**
   * In how many nanoseconds a request with so many users may go; that turn is taken.
   *
   * @throws AudienceException that is after {@code left}; no turn is taken.
   */
  synchronized long turn(int count, Limits limits, long left) {
    long now = clock.getAsLong();
    long at = turns.isEmpty() ? now : Math.max(now, turns.getLast().at());
    int over = 0;
    int counted = users;
    for (Iterator<Turn> old = turns.iterator(); old.hasNext(); over++) {
      Turn turn = old.next();
      boolean isOver = turn.at() <= at - WINDOW_NANOS;
      boolean isFull = turns.size() - over >= limits.postsPerSecond()
          || (long) counted + count > limits.usersPerSecond();
      // A request with more users than a second may have is for the service to refuse.
      if (!isOver && !isFull) {
        break;
      }
      at = Math.max(at, turn.at() + WINDOW_NANOS);
      counted -= turn.users();
    }
    if (at > now && at - now >= left) {
      throw Failure.late("the member's quota leaves no room before the caller's time is over");
    }
    for (; over > 0; over--) {
      turns.removeFirst();
    }
    turns.addLast(new Turn(at, count));
    users = counted + count;
    return at - now;
  }
}
