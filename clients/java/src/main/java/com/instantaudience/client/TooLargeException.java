package com.instantaudience.client;

/** One user's changes exceed the size of a request, or an answer exceeds what this client accepts. */
public final class TooLargeException extends AudienceException {
  private static final long serialVersionUID = 1;

  TooLargeException(Failure failure) {
    super(ErrorKind.TOO_LARGE, failure);
  }
}
