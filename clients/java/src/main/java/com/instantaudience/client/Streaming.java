package com.instantaudience.client;

import com.instantaudience.v1.RtSegment;
import java.time.Duration;
import java.util.Iterator;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.function.LongSupplier;

/**
 * Opens one stream after another, until all users are answered. Everything happens on the caller's thread; other
 * threads send it events.
 */
final class Streaming {
  /** How long users wait for others to go along with them, at most. */
  static final long LINGER_NANOS = TimeUnit.MILLISECONDS.toNanos(Rules.LINGER_MS);

  private final Calling calling;
  private final Pacer pacer;
  private final Limits limits;
  private final Duration patience;
  /** That of the patience, and of what is stuck. */
  private final LongSupplier clock;
  private final Consumer<StreamResult> results;
  private final Window window;
  private final BlockingQueue<Runnable> events = new LinkedBlockingQueue<>();
  /** When there must have been progress; it does not apply while the window is empty. */
  private Deadline deadline;
  /** Number of streams that failed since the last progress. */
  private int failures;
  /** Whether the token was renewed since then. */
  private boolean isRenewed;
  private boolean isAsked;
  /** Since when what was asked for has been waited for. */
  private long askedSince;
  private boolean isExhausted;
  /** What the caller's iterator threw; null if it ended normally. */
  private Throwable thrown;
  /** Null between two streams. */
  private OneStream current;

  Streaming(
      Calling calling,
      Pacer pacer,
      Limits limits,
      int window,
      Duration patience,
      LongSupplier clock,
      Consumer<StreamResult> results) {
    this.calling = calling;
    this.pacer = pacer;
    this.limits = limits;
    this.window = new Window(window);
    this.patience = patience;
    this.clock = clock;
    this.results = results;
    deadline = Deadline.after(patience, clock);
  }

  /**
   * Applies all users.
   *
   * @throws AudienceException there was no progress for too long, or signing in failed.
   * @throws java.util.concurrent.CancellationException the thread was interrupted; its interrupt status is kept.
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

  /** Throws what the caller's iterator threw, even if that is a checked exception. */
  @SuppressWarnings("unchecked")
  private static <T extends Throwable> T asItIs(Throwable thrown) throws T {
    throw (T) thrown;
  }

  BlockingQueue<Runnable> events() {
    return events;
  }

  /** The time of its clock. */
  long now() {
    return clock.getAsLong();
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

  /** Asks for the next request, if there is room for it; takes what is there if that takes long. */
  void ask(Source source) {
    long now = System.nanoTime();
    if (!isAsked && !isExhausted && !window.isFull()) {
      isAsked = true;
      askedSince = now;
      source.ask();
    } else if (isAsked && now - askedSince >= LINGER_NANOS) {
      askedSince = now;
      Part incomplete = source.takeIncomplete();
      if (incomplete != null) {
        take(incomplete);
      }
    }
  }

  /** Does not count this time, in which the process was stopped, as time without progress. */
  void excuse(long nanos) {
    deadline = deadline.later(nanos, patience);
  }

  /** Passes on the results of the first requests, as far as they are final. */
  void giveResults() {
    for (Sent first = window.takeAnswered(); first != null; first = window.takeAnswered()) {
      results.accept(first.outcome());
      deadline = Deadline.after(patience, clock);
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
        Runnable event = events.poll(LINGER_NANOS, TimeUnit.NANOSECONDS);
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
      deadline = Deadline.after(patience, clock);
    }
    Sent request = new Sent(part);
    window.add(request);
    if (request.isAnswered()) { // It cannot be sent.
      giveResults();
    } else if (current != null) {
      current.add(request);
    }
  }

  private void end(Throwable failure) {
    isExhausted = true;
    thrown = failure;
  }

  /**
   * Sleeps until the failure is worth a retry.
   *
   * @throws AudienceException the failure, if it never is, or not in time; {@link UnavailableException} if the client is
   * closed.
   */
  private void pause(AudienceException failure, String token) {
    calling.session().checkOpen();
    failures++;
    if (window.isEmpty()) {
      deadline = Deadline.after(patience, clock);
    }
    if (!(failure instanceof UnauthenticatedException)) {
      long began = now();
      long pause = calling.pause(failure, Math.max(failures, window.mostAttempts()) - 1, deadline);
      excuse(now() - began - pause);
    } else if (isRenewed || !calling.isRenewable(failure, token)) {
      throw failure;
    } else {
      isRenewed = true;
    }
  }
}
