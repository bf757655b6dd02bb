package com.instantaudience.client;

/** Wrong user name, password, key or token, or the account is deactivated. */
public final class UnauthenticatedException extends AudienceException {
  private static final long serialVersionUID = 1;

  UnauthenticatedException(Failure failure) {
    super(ErrorKind.UNAUTHENTICATED, failure);
  }
}
