package com.instantaudience.client;

/** The request is malformed or breaks a rule: sending it again does not help. */
public final class InvalidRequestException extends AudienceException {
  private static final long serialVersionUID = 1;

  InvalidRequestException(Failure failure) {
    super(ErrorKind.INVALID_REQUEST, failure);
  }
}
