package com.instantaudience.client;

import com.instantaudience.v1.ApplySegmentsResult;
import java.util.List;

/** A request in flight, until it has its final answer. */
final class Sent {
  private final Part part;
  /** Why it cannot be sent at all; null if it can. */
  private final AudienceException unreadable;
  private ApplySegmentsResult result;
  private AudienceException failure;
  /** How often it was sent. */
  private int attempts;
  /** When it was last sent, or could have been. */
  private long since;

  Sent(Part part) {
    this.part = part;
    unreadable = part.unreadable();
    failure = unreadable;
  }

  Part part() {
    return part;
  }

  int attempts() {
    return attempts;
  }

  long since() {
    return since;
  }

  /** Notes that it is sent as soon as the connection accepts it. */
  void begin(long now) {
    attempts++;
    since = now;
  }

  boolean isAnswered() {
    return result != null || failure != null;
  }

  void answer(ApplySegmentsResult answer) {
    result = answer;
  }

  void fail(AudienceException error) {
    failure = error;
  }

  /** Discards its answer, as it is to be repeated. */
  void forget() {
    result = null;
    failure = unreadable;
  }

  /** The result that the caller gets for it. */
  StreamResult outcome() {
    ApplySegmentsResult told = result == null ? null : Joining.joined(List.of(part), List.of(result));
    return new StreamResult(part.firstUser(), part.userCount(), part.continues(), told, failure);
  }
}
