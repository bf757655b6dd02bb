package com.instantaudience.client;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.function.LongConsumer;
import java.util.function.LongSupplier;

/** Lets requests go, in the order they ask; in any second at most as many, with as many users, as the limits say. */
final class Pacer {
  private static final long WINDOW_NANOS = TimeUnit.MILLISECONDS.toNanos(Rules.QUOTA_WINDOW_MS);

  /** When a request has gone, or will go, and how many users it has. */
  record Turn(long at, int users) {}

  private final LongSupplier clock;
  private final LongConsumer sleep;
  /** In their order; those of the second before the last one begin at {@code first}. */
  private final List<Turn> turns = new ArrayList<>();
  private int first;
  /** Of those of that second. */
  private int users;

  /** {@code sleep} waits so many nanoseconds of the clock. */
  Pacer(LongSupplier clock, LongConsumer sleep) {
    this.clock = clock;
    this.sleep = sleep;
  }

  /**
   * Waits until a request with so many users may go.
   *
   * @throws AudienceException it may not in time; nothing is sent. Or what ends the wait before.
   */
  void await(int count, Limits limits, Deadline deadline) {
    Turn turn = turn(count, limits, deadline.leftNanos());
    long wait = turn.at() - clock.getAsLong();
    if (wait <= 0) {
      return;
    }
    try {
      sleep.accept(wait);
    } catch (RuntimeException ended) {
      giveBack(turn);
      throw ended;
    }
  }

  /**
   * The turn that a request with so many users takes.
   *
   * @throws AudienceException that is after {@code left}; no turn is taken.
   */
  synchronized Turn turn(int count, Limits limits, long left) {
    long now = clock.getAsLong();
    long at = turns.isEmpty() ? now : Math.max(now, turns.get(turns.size() - 1).at());
    int over = first;
    int counted = users;
    for (; over < turns.size(); over++) {
      Turn turn = turns.get(over);
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
    Turn taken = new Turn(at, count);
    turns.add(taken);
    first = over;
    users = counted + count;
    forget(now);
    return taken;
  }

  /** The request does not go: others may have its turn, who come later. */
  synchronized void giveBack(Turn turn) {
    int index = turns.lastIndexOf(turn);
    if (index >= 0) { // Else it is over, and forgotten.
      turns.remove(index);
    }
    first = turns.isEmpty() ? 0 : firstAfter(turns.get(turns.size() - 1).at() - WINDOW_NANOS);
    users = turns.subList(first, turns.size()).stream().mapToInt(Turn::users).sum();
  }

  /** What is over is forgotten when it is half of all: over by now, as later ones may be given back. */
  private void forget(long now) {
    int over = first * 2 > turns.size() ? firstAfter(now - WINDOW_NANOS) : 0;
    if (over * 2 > turns.size()) {
      turns.subList(0, over).clear();
      first -= over;
    }
  }

  /** Where the turns after a time begin. */
  private int firstAfter(long time) {
    int low = 0;
    int high = turns.size();
    while (low < high) {
      int middle = (low + high) >>> 1;
      if (turns.get(middle).at() > time) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return low;
  }
}
