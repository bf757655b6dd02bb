package com.instantaudience.client;

import java.util.ArrayDeque;
import java.util.Collections;
import java.util.Deque;
import java.util.HashSet;
import java.util.Set;

/** The requests without a result so far, in order; of limited number. */
final class Window {
  private final Deque<Sent> requests = new ArrayDeque<>();
  private final int most;

  Window(int most) {
    this.most = most;
  }

  boolean isEmpty() {
    return requests.isEmpty();
  }

  boolean isFull() {
    return requests.size() >= most;
  }

  void add(Sent request) {
    requests.addLast(request);
  }

  /** Removes the first request if it has its final answer, which makes room; else null. */
  Sent takeAnswered() {
    Sent first = requests.peekFirst();
    return first != null && first.isAnswered() ? requests.removeFirst() : null;
  }

  /** The largest number of attempts of any request. */
  int mostAttempts() {
    return requests.stream().mapToInt(Sent::attempts).max().orElse(0);
  }

  /**
   * The requests without a final answer, and all after them that change one of the same users.
   *
   * <p>Those were applied before the failed ones; applying them again afterwards restores the right order.
   */
  Deque<Sent> toRepeat() {
    Deque<Sent> again = new ArrayDeque<>();
    Set<String> changed = new HashSet<>();
    for (Sent request : requests) {
      Set<String> own = request.part().keys();
      if (request.isAnswered() && Collections.disjoint(own, changed)) {
        continue;
      }
      request.forget();
      if (request.isAnswered()) { // It cannot be sent at all.
        continue;
      }
      changed.addAll(own);
      again.addLast(request);
    }
    return again;
  }
}
