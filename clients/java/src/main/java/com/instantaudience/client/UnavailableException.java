package com.instantaudience.client;

/** The service is out of reach or overloaded; what was sent may be applied in part, and can be sent again. */
public class UnavailableException extends AudienceException {
  private static final long serialVersionUID = 1;

  UnavailableException(Failure failure) {
    this(ErrorKind.UNAVAILABLE, failure);
  }

  UnavailableException(ErrorKind kind, Failure failure) {
    super(kind, failure);
  }
}
