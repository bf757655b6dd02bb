package com.instantaudience.client;

/** A defect of the service, or an answer that is not the service's. */
public final class InternalException extends AudienceException {
  private static final long serialVersionUID = 1;

  InternalException(Failure failure) {
    super(ErrorKind.INTERNAL, failure);
  }
}
