package com.instantaudience.client;

import com.instantaudience.v1.RtSegment;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Iterator;
import java.util.concurrent.Semaphore;
import java.util.function.Consumer;

/**
 * Makes requests of the caller's users as they are needed, on a thread of its own, so that a slow iterator holds up
 * nothing else.
 */
final class Source implements AutoCloseable {
  private final Iterator<RtSegment> users;
  private final Splitter splitter;
  private final Consumer<Part> onPart;
  private final Consumer<Throwable> onEnd;
  private final Semaphore wanted = new Semaphore(0);
  private final Thread thread = new Thread(this::give, "instantaudience-users");
  private volatile boolean isClosed;

  /** {@code onPart} receives each request, {@code onEnd} what the iterator threw, or null at the end of the users. */
  Source(Iterator<RtSegment> users, Limits limits, Consumer<Part> onPart, Consumer<Throwable> onEnd) {
    this.users = users;
    this.splitter = new Splitter(limits);
    this.onPart = onPart;
    this.onEnd = onEnd;
    thread.setDaemon(true);
    thread.start();
  }

  /** Asks for another request, or the end. */
  void ask() {
    wanted.release();
  }

  /** Stops reading. Waits until the caller's iterator is no longer in use. */
  @Override
  public void close() {
    isClosed = true;
    thread.interrupt();
    wanted.release(); // The iterator may have taken no notice of the interrupt.
    boolean wasInterrupted = false;
    while (thread.isAlive()) {
      try {
        thread.join();
      } catch (InterruptedException interrupt) {
        wasInterrupted = true;
      }
    }
    if (wasInterrupted) {
      Thread.currentThread().interrupt();
    }
  }

  private void give() {
    Throwable thrown = null;
    try {
      Deque<Part> ready = new ArrayDeque<>();
      do {
        wanted.acquire();
        while (!isClosed && ready.isEmpty() && users.hasNext()) {
          ready.addAll(splitter.add(users.next()));
        }
        if (ready.isEmpty()) {
          ready.addLast(splitter.flush());
        }
      } while (!isClosed && given(ready.removeFirst()));
    } catch (InterruptedException closed) {
      return;
    } catch (Throwable failure) { // Whatever it is, it is thrown on, on the caller's thread.
      thrown = failure;
    }
    onEnd.accept(thrown);
  }

  /** Passes a request on; false at the end. */
  private boolean given(Part part) {
    if (part.users().isEmpty()) {
      return false;
    }
    onPart.accept(part);
    return true;
  }
}
