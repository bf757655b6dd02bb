package com.instantaudience.client;

/** The account may not do this. */
public final class PermissionDeniedException extends AudienceException {
  private static final long serialVersionUID = 1;

  PermissionDeniedException(Failure failure) {
    super(ErrorKind.PERMISSION_DENIED, failure);
  }
}
