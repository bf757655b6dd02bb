package com.instantaudience.client;

/** The caller's deadline has passed. */
public final class DeadlineExceededException extends UnavailableException {
  private static final long serialVersionUID = 1;

  DeadlineExceededException(Failure failure) {
    super(ErrorKind.DEADLINE_EXCEEDED, failure);
  }
}
