package com.instantaudience.client;

/** A defect of the service, or an answer that is none of its. */
public final class InternalException extends AudienceException {
  private static final long serialVersionUID = 1;

  InternalException(Failure failure) {
    super(ErrorKind.INTERNAL, failure);
  }
}
