package com.instantaudience.client;

/** The change conflicts with the current state: taken, changed meanwhile, or in use. */
public final class ConflictException extends AudienceException {
  private static final long serialVersionUID = 1;

  ConflictException(Failure failure) {
    super(ErrorKind.CONFLICT, failure);
  }
}
