package com.instantaudience.client;

import com.instantaudience.v1.RtSegment;
import java.time.Duration;
import java.util.Iterator;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;

/**
 * One call's streams, one after the other, until all users are answered. Everything happens on the caller's thread: what
 * other threads have to say comes to it as an event.
 */
final class Streaming {
  private final Calling calling;
  private final Pacer pacer;
  private final Limits limits;
  private final Duration patience;
  private final Consumer<StreamResult> results;
  private final Window window;
  private final BlockingQueue<Runnable> events = new LinkedBlockingQueue<>();
  /** When there must have been progress; where there is nothing in the window, nothing waits for it. */
  private Deadline deadline;
  /** How many streams have failed since the last progress. */
  private int failures;
  /** Whether the token is new since then. */
  private boolean isRenewed;
  private boolean isAsked;
  private boolean isExhausted;
  /** What the caller's users came to; null where that was their end. */
  private Throwable thrown;
  /** Null between two. */
  private OneStream current;

  Streaming(
      Calling calling,
      Pacer pacer,
      Limits limits,
      int window,
      Duration patience,
      Consumer<StreamResult> results) {
    this.calling = calling;
    this.pacer = pacer;
    this.limits = limits;
    this.window = new Window(window);
    this.patience = patience;
    this.results = results;
    deadline = Deadline.after(patience);
  }

  /**
   * Has all users answered.
   *
   * @throws AudienceException no progress for so long, or signing in failed.
   * @throws java.util.concurrent.CancellationException the thread was interrupted; it stays so.
   */
  void apply(Iterator<RtSegment> users) {
    try (Source source = new Source(
        users, limits, part -> events.add(() -> take(part)), failure -> events.add(() -> end(failure)))) {
      for (awaitUsers(source); !window.isEmpty(); awaitUsers(source)) {
        String token = calling.session().token(deadline);
        current = new OneStream(this, calling, pacer, source, token);
        current.run();
        AudienceException failure = current.failure();
        current = null;
        if (failure != null) {
          pause(failure, token);
        }
      }
    }
    if (thrown != null) {
      throw Streaming.<RuntimeException>asItIs(thrown);
    }
  }

  /** Throws what the caller's iterator threw; the compiler does not know that this may be checked. */
  @SuppressWarnings("unchecked")
  private static <T extends Throwable> T asItIs(Throwable thrown) throws T {
    throw (T) thrown;
  }

  BlockingQueue<Runnable> events() {
    return events;
  }

  Limits limits() {
    return limits;
  }

  Window window() {
    return window;
  }

  /** Whether there are no more users. */
  boolean isExhausted() {
    return isExhausted;
  }

  /** Has the next request be made, where there is room for it. */
  void ask(Source source) {
    if (!isAsked && !isExhausted && !window.isFull()) {
      isAsked = true;
      source.ask();
    }
  }

  /** Hands on the first ones that are answered for good. */
  void giveResults() {
    for (Sent first = window.takeAnswered(); first != null; first = window.takeAnswered()) {
      results.accept(first.outcome());
      deadline = Deadline.after(patience);
      failures = 0;
      isRenewed = false;
    }
  }

  /**
   * Waits until there is something to send, or there are no more users.
   *
   * @throws UnavailableException the client is closed.
   */
  private void awaitUsers(Source source) {
    while (window.isEmpty() && !isExhausted) {
      calling.session().checkOpen();
      ask(source);
      try {
        Runnable event = events.poll(OneStream.LOOK_NANOS, TimeUnit.NANOSECONDS);
        if (event != null) {
          event.run();
        }
      } catch (InterruptedException interrupt) {
        throw Deadline.givenUp();
      }
    }
  }

  private void take(Part part) {
    isAsked = false;
    if (window.isEmpty()) {
      deadline = Deadline.after(patience);
    }
    Sent request = new Sent(part);
    window.add(request);
    if (current != null) {
      current.add(request);
    }
  }

  private void end(Throwable failure) {
    isExhausted = true;
    thrown = failure;
  }

  /** Waits until what has failed is worth another try. */
  private void pause(AudienceException failure, String token) {
    failures++;
    if (window.isEmpty()) {
      deadline = Deadline.after(patience);
    }
    if (!(failure instanceof UnauthenticatedException)) {
      calling.pause(failure, Math.max(failures, window.mostAttempts()) - 1, deadline);
    } else if (isRenewed || !calling.isRenewable(failure, token)) {
      throw failure;
    } else {
      isRenewed = true;
    }
  }
}
