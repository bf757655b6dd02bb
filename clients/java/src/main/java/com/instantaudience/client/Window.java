package com.instantaudience.client;

import java.util.ArrayDeque;
import java.util.Collections;
import java.util.Deque;
import java.util.HashSet;
import java.util.Set;

/** The requests that the caller has no result of, in order; so many at most. */
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

  /** The first one, where it is answered for good, which makes room; else null. */
  Sent takeAnswered() {
    Sent first = requests.peekFirst();
    return first != null && first.isAnswered() ? requests.removeFirst() : null;
  }

  /** How often that request was sent which was sent most often. */
  int mostAttempts() {
    return requests.stream().mapToInt(Sent::attempts).max().orElse(0);
  }

  /**
   * What is not answered for good, and all after it that changes one of the same users.
   *
   * <p>That was applied before what failed; applied again after it, it leaves what it should.
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
      changed.addAll(own);
      again.addLast(request);
    }
    return again;
  }
}
