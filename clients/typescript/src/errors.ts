import { anyUnpack, durationMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { type ErrorInfo, ErrorInfoSchema, type RetryInfo, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import type { Status } from "./gen/google/rpc/status_pb.js";
import { KIND_OF_CODE, KIND_OF_REASON, KIND_OTHERWISE, KIND_WITHOUT_REASON, type Kind, SENT_AGAIN } from "./rules.js";

/** The fields of an error besides its message. */
export interface Failure {
  readonly code?: Code;
  readonly reason?: string;
  readonly requestId?: string;
  readonly retryAfterMs?: number;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly cause?: unknown;
}

/** A call failed; the subclass tells the kind of failure. */
export abstract class AudienceError extends Error {
  /** The code of errors that the client itself raises. */
  protected static readonly ownCode: Code = Code.Unknown;
  /** The kind of failure. */
  abstract readonly kind: Kind;
  /** gRPC's status code. */
  readonly code: Code;
  /** The reason of `google.rpc.ErrorInfo`, as listed in errors.proto; "" if the transport failed. */
  readonly reason: string;
  /** The call's ID in the service's log; "" if nothing was sent. */
  readonly requestId: string;
  /** When the service asks to try again; undefined if it does not. */
  readonly retryAfterMs: number | undefined;
  /** The metadata of ErrorInfo: often `field`, the field concerned. */
  readonly metadata: Readonly<Record<string, string>>;
  /** The message without the reason and the request ID. */
  readonly rawMessage: string;

  /** Whether a retry of the same call may succeed. */
  get isWorthAnotherTry(): boolean {
    return SENT_AGAIN.has(this.kind);
  }

  constructor(message: string, failure: Failure = {}) {
    const { code = new.target.ownCode, reason = "", requestId = "", retryAfterMs, metadata = {}, cause } = failure;
    const found = requestId === "" ? "" : ` (request ${requestId})`;
    super(`${reason || Code[code]}: ${message}${found}`, { cause });
    this.code = code;
    this.reason = reason;
    this.requestId = requestId;
    this.retryAfterMs = retryAfterMs;
    this.metadata = metadata;
    this.rawMessage = message;
  }
}

/** The request is malformed or breaks a rule: sending it again does not help. */
export class InvalidRequestError extends AudienceError {
  override readonly name: string = "InvalidRequestError";
  override readonly kind: Kind = "InvalidRequest";
  protected static override readonly ownCode: Code = Code.InvalidArgument;
}
/** Wrong user name, password, key or token, or the account is deactivated. */
export class UnauthenticatedError extends AudienceError {
  override readonly name: string = "UnauthenticatedError";
  override readonly kind: Kind = "Unauthenticated";
}
/** The account may not do this. */
export class PermissionDeniedError extends AudienceError {
  override readonly name: string = "PermissionDeniedError";
  override readonly kind: Kind = "PermissionDenied";
}
/** There is no such object or method. */
export class NotFoundError extends AudienceError {
  override readonly name: string = "NotFoundError";
  override readonly kind: Kind = "NotFound";
}
/** The change conflicts with the current state: taken, changed meanwhile, or in use. */
export class ConflictError extends AudienceError {
  override readonly name: string = "ConflictError";
  override readonly kind: Kind = "Conflict";
}
/** One user's changes exceed the size of a request, or an answer exceeds what this client accepts. */
export class TooLargeError extends AudienceError {
  override readonly name: string = "TooLargeError";
  override readonly kind: Kind = "TooLarge";
}
/** The member's quota is used up, and there was no time left to wait for the next window. */
export class RateLimitedError extends AudienceError {
  override readonly name: string = "RateLimitedError";
  override readonly kind: Kind = "RateLimited";
}
/** The service is unreachable or overloaded; the request may have been applied in part, and can be sent again. */
export class UnavailableError extends AudienceError {
  override readonly name: string = "UnavailableError";
  override readonly kind: Kind = "Unavailable";
  protected static override readonly ownCode: Code = Code.Unavailable;
}
/** The caller's deadline has passed. */
export class DeadlineExceededError extends UnavailableError {
  override readonly name: string = "DeadlineExceededError";
  override readonly kind: Kind = "DeadlineExceeded";
  protected static override readonly ownCode: Code = Code.DeadlineExceeded;
}
/** A defect of the service, or an answer that is not the service's. */
export class InternalError extends AudienceError {
  override readonly name: string = "InternalError";
  override readonly kind: Kind = "Internal";
  protected static override readonly ownCode: Code = Code.Internal;
}

const CLASSES: Readonly<Record<Kind, new (message: string, failure: Failure) => AudienceError>> = {
  Conflict: ConflictError,
  DeadlineExceeded: DeadlineExceededError,
  Internal: InternalError,
  InvalidRequest: InvalidRequestError,
  NotFound: NotFoundError,
  PermissionDenied: PermissionDeniedError,
  RateLimited: RateLimitedError,
  TooLarge: TooLargeError,
  Unauthenticated: UnauthenticatedError,
  Unavailable: UnavailableError,
};

/** The error of a failed attempt. */
export function ofCall(failure: unknown, requestId: string): AudienceError {
  if (failure instanceof AudienceError) return failure;
  const error = ConnectError.from(failure);
  const [info] = error.findDetails(ErrorInfoSchema);
  const [retry] = error.findDetails(RetryInfoSchema);
  return errorOf(isOfConnect(error) ? Code.Internal : error.code, error.rawMessage, info, retry, {
    requestId,
    cause: failure,
  });
}

/**
 * Whether the library itself raised this error for an answer that was cut off or is not gRPC's. It then has no response
 * headers, and a code that otherwise says what is wrong with a request.
 */
function isOfConnect(error: ConnectError): boolean {
  const isOfRequest = error.code === Code.InvalidArgument || error.code === Code.Unimplemented;
  return isOfRequest && error.metadata.keys().next().done === true;
}

/** The error for the status of a request in a stream. */
export function ofStatus(status: Status, requestId: string): AudienceError {
  const [info] = status.details.flatMap((detail) => anyUnpack(detail, ErrorInfoSchema) ?? []);
  const [retry] = status.details.flatMap((detail) => anyUnpack(detail, RetryInfoSchema) ?? []);
  return errorOf(status.code, status.message, info, retry, { requestId });
}

function errorOf(
  code: Code,
  message: string,
  info: ErrorInfo | undefined,
  retry: RetryInfo | undefined,
  known: Failure,
): AudienceError {
  const asked = retry?.retryDelay === undefined ? -1 : durationMs(retry.retryDelay);
  const reason = info?.reason ?? "";
  return new CLASSES[kindOf(code, reason)](message, {
    ...known,
    code,
    reason,
    ...(info === undefined ? {} : { metadata: info.metadata }),
    ...(asked < 0 ? {} : { retryAfterMs: asked }),
  });
}

function kindOf(code: Code, reason: string): Kind {
  const ofTransport = reason === "" ? KIND_WITHOUT_REASON[code] : undefined;
  return KIND_OF_REASON[reason] ?? ofTransport ?? KIND_OF_CODE[code] ?? KIND_OTHERWISE;
}

/** The error of an attempt that was ended by its caller, or by closing the client. */
export function givenUp(requestId: string): AudienceError {
  return new UnavailableError("the caller has given up", { code: Code.Canceled, requestId });
}

/** The error for an answer without its mandatory content. */
export function saysNothing(requestId: string): AudienceError {
  return new InternalError("an answer that does not say what was asked for", { requestId });
}
