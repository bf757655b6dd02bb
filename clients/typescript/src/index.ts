/** The API that Node.js and browsers share; `createClient` is in node.ts and browser.ts. */
export { type Attempt, type OnAttempt } from "./calling.js";
export { type CallOptions, Client, type ClientOptions } from "./client.js";
export { type Credentials, type KeyPair, type Password, type Token } from "./credentials.js";
export {
  AudienceError,
  ConflictError,
  DeadlineExceededError,
  InternalError,
  InvalidRequestError,
  NotFoundError,
  PermissionDeniedError,
  RateLimitedError,
  TooLargeError,
  UnauthenticatedError,
  UnavailableError,
} from "./errors.js";
export {
  type ApplySegmentsResult,
  type Membership,
  type UserMemberships,
  type ApplyWarning,
  WarningCode,
} from "./gen/instantaudience/v1/audience_pb.js";
export { type Retries } from "./retrying.js";
export { type Limits } from "./splitting.js";
export { type Block, NEVER, REMOVE, type User } from "./users.js";
export { type StreamResult } from "./window.js";
