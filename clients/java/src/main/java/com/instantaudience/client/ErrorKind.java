// Made by `make generate` from clients/rules.json and proto/instantaudience/v1/errors.proto: do not edit.
package com.instantaudience.client;

/** What an error means for a caller. */
public enum ErrorKind {
  /** The request is malformed or breaks a rule: sending it again does not help. */
  INVALID_REQUEST,
  /** Wrong user name, password, key or token, or the account is deactivated. */
  UNAUTHENTICATED,
  /** The account may not do this. */
  PERMISSION_DENIED,
  /** There is no such object or method. */
  NOT_FOUND,
  /** The change conflicts with the current state: taken, changed meanwhile, or in use. */
  CONFLICT,
  /** One user's changes exceed the size of a request, or an answer exceeds what this client accepts. */
  TOO_LARGE,
  /** The member's quota is used up, and there was no time left to wait for the next window. */
  RATE_LIMITED,
  /** The service is unreachable or overloaded; the request may have been applied in part, and can be sent again. */
  UNAVAILABLE,
  /** The caller's deadline has passed. */
  DEADLINE_EXCEEDED,
  /** A defect of the service, or an answer that is not the service's. */
  INTERNAL
}
