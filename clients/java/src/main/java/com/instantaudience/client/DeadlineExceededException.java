package com.instantaudience.client;

/** The time that the caller gave is over. */
public final class DeadlineExceededException extends UnavailableException {
  private static final long serialVersionUID = 1;

  DeadlineExceededException(Failure failure) {
    super(ErrorKind.DEADLINE_EXCEEDED, failure);
  }
}
