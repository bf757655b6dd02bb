package com.instantaudience.client;

/** One user's changes are larger than a request may be, or the answer is larger than this client takes. */
public final class TooLargeException extends AudienceException {
  private static final long serialVersionUID = 1;

  TooLargeException(Failure failure) {
    super(ErrorKind.TOO_LARGE, failure);
  }
}
