package com.instantaudience.client;

import com.instantaudience.v1.ApplySegmentsResult;
import java.util.List;

/** A request under way, until it is answered for good. */
final class Sent {
  private final Part part;
  private ApplySegmentsResult result;
  private AudienceException failure;
  /** How often it was sent. */
  private int attempts;
  /** When it was sent last, or could have been. */
  private long since;

  Sent(Part part) {
    this.part = part;
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

  /** It is sent as soon as the connection takes it. */
  void begin() {
    attempts++;
    since = System.nanoTime();
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

  /** It is to be sent again. */
  void forget() {
    result = null;
    failure = null;
  }

  /** What the caller is told of it. */
  StreamResult outcome() {
    ApplySegmentsResult told = result == null ? null : Joining.joined(List.of(part), List.of(result));
    return new StreamResult(part.firstUser(), part.userCount(), told, failure);
  }
}
