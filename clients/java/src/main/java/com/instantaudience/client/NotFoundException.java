package com.instantaudience.client;

/** There is no such object or method. */
public final class NotFoundException extends AudienceException {
  private static final long serialVersionUID = 1;

  NotFoundException(Failure failure) {
    super(ErrorKind.NOT_FOUND, failure);
  }
}
