// Made by `make generate` from clients/rules.json and proto/instantaudience/v1/errors.proto: do not edit.
package com.instantaudience.client;

/** What an error means for a caller. */
public enum ErrorKind {
  /** The request cannot be read, or breaks a rule: sending it again does not help. */
  INVALID_REQUEST,
  /** Wrong name, password, key or token, or the account is deactivated. */
  UNAUTHENTICATED,
  /** The account may not do this. */
  PERMISSION_DENIED,
  /** There is no such object or method. */
  NOT_FOUND,
  /** The change contradicts what is there: taken, changed meanwhile, or in use. */
  CONFLICT,
  /** One user's changes are larger than a request may be, or the answer is larger than this client takes. */
  TOO_LARGE,
  /** The member's quota is used up, and there was no time left to wait for the next window. */
  RATE_LIMITED,
  /** The service is out of reach or overloaded; what was sent may be applied in part, and can be sent again. */
  UNAVAILABLE,
  /** The time that the caller gave is over. */
  DEADLINE_EXCEEDED,
  /** A defect of the service, or an answer that is none of its. */
  INTERNAL
}
