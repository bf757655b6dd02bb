package com.instantaudience.client;

/** The service is unreachable or overloaded; the request may have been applied in part, and can be sent again. */
public class UnavailableException extends AudienceException {
  private static final long serialVersionUID = 1;

  UnavailableException(Failure failure) {
    this(ErrorKind.UNAVAILABLE, failure);
  }

  UnavailableException(ErrorKind kind, Failure failure) {
    super(kind, failure);
  }
}
