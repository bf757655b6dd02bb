package com.instantaudience.client;

/** The member's quota is used up, and there was no time left to wait for the next window. */
public final class RateLimitedException extends AudienceException {
  private static final long serialVersionUID = 1;

  RateLimitedException(Failure failure) {
    super(ErrorKind.RATE_LIMITED, failure);
  }
}
