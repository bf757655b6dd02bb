package com.instantaudience.client;

import com.instantaudience.v1.RtSegment;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Iterator;
import java.util.function.Consumer;

/**
 * Makes requests of the caller's users as they are needed, on a thread of its own, so that a slow iterator holds up
 * nothing else.
 */
final class Source implements AutoCloseable {
  private final Iterator<RtSegment> users;
  private final Consumer<Part> onPart;
  private final Consumer<Throwable> onEnd;
  private final Thread thread = new Thread(this::give, "instantaudience-users");
  private volatile boolean isClosed;
  // The lock of this object guards all below.
  private final Splitter splitter;
  /** Requests that are full, or the last one. */
  private final Deque<Part> ready = new ArrayDeque<>();
  /** Whether a request was asked for and not given yet. */
  private boolean isAsked;

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
  synchronized void ask() {
    isAsked = true;
    notifyAll();
  }

  /** Instead of the request that was asked for, one with the users that are there; null if there are none. */
  synchronized Part takeIncomplete() {
    if (!isAsked || !ready.isEmpty() || splitter.isEmpty()) {
      return null;
    }
    isAsked = false;
    return splitter.flush();
  }

  /** Stops reading. Waits until the caller's iterator is no longer in use. */
  @Override
  public void close() {
    isClosed = true;
    thread.interrupt();
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
      do {
        awaitAsked();
        // It may be closed while it waits for a user.
        while (!isClosed && !isReady() && users.hasNext() && !isClosed) {
          add(users.next());
        }
      } while (!isClosed && isGiven());
    } catch (Throwable failure) { // Whatever it is, it is thrown on, on the caller's thread, unless this is closed.
      thrown = failure;
    }
    onEnd.accept(thrown);
  }

  private synchronized void awaitAsked() throws InterruptedException {
    while (!isAsked && !isClosed) {
      wait();
    }
  }

  private synchronized boolean isReady() {
    return !ready.isEmpty();
  }

  private synchronized void add(RtSegment user) {
    ready.addAll(splitter.add(user));
  }

  /** Passes a request on, once it is asked for; false at the end. */
  private synchronized boolean isGiven() throws InterruptedException {
    if (ready.isEmpty()) {
      ready.addLast(splitter.flush());
    }
    awaitAsked();
    Part part = ready.removeFirst();
    if (part.users().isEmpty()) {
      return false;
    }
    isAsked = false;
    onPart.accept(part);
    return true;
  }
}
