package com.instantaudience.client;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.function.LongConsumer;
import java.util.function.LongSupplier;

/**
 * Lets requests pass in the order in which they ask; in any second, no more requests and users than the limits allow.
 */
final class Pacer {
  private static final long WINDOW_NANOS = TimeUnit.MILLISECONDS.toNanos(Rules.QUOTA_WINDOW_MS);

  /** When a request was sent, or will be, and its number of users. */
  record Turn(long at, int users) {}

  private final LongSupplier clock;
  private final LongConsumer sleep;
  /** In order of time; those of the second before the last one begin at {@code first}. */
  private final List<Turn> turns = new ArrayList<>();
  private int first;
  /** Number of users in the turns of that second. */
  private int users;

  /** {@code sleep} waits for this many nanoseconds of the clock. */
  Pacer(LongSupplier clock, LongConsumer sleep) {
    this.clock = clock;
    this.sleep = sleep;
  }

  /**
   * Waits until a request with this many users may be sent.
   *
   * @throws AudienceException that is not before the deadline; nothing is sent. Or whatever ends the wait early.
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
   * Takes the turn of a request with this many users.
   *
   * @throws AudienceException it would be later than {@code left}; no turn is taken.
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

  /** Returns the turn of a request that is not sent, for later requests. */
  synchronized void giveBack(Turn turn) {
    int index = turns.lastIndexOf(turn);
    if (index >= 0) { // Else it is over, and forgotten.
      turns.remove(index);
    }
    first = turns.isEmpty() ? 0 : firstAfter(turns.get(turns.size() - 1).at() - WINDOW_NANOS);
    users = turns.subList(first, turns.size()).stream().mapToInt(Turn::users).sum();
  }

  /** Forgets turns that are over, once they are half of all. Over by now: later ones may still be returned. */
  private void forget(long now) {
    int over = first * 2 > turns.size() ? firstAfter(now - WINDOW_NANOS) : 0;
    if (over * 2 > turns.size()) {
      turns.subList(0, over).clear();
      first -= over;
    }
  }

  /** The index of the first turn after a time. */
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
