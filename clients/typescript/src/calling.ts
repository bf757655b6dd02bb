import type { DescMessage, DescMethodUnary, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel } from "@bufbuild/protobuf/wkt";
import type { Code, Transport } from "@connectrpc/connect";
import type { Deadline } from "./deadline.js";
import { AudienceError, RateLimitedError, UnauthenticatedError, givenUp, ofCall, saysNothing } from "./errors.js";
import { ErrorCause } from "./gen/instantaudience/v1/errors_pb.js";
import { Attempts, type Retries } from "./retrying.js";
import { RENEWED_REASON } from "./rules.js";
import type { Session } from "./session.js";

/** The result of an attempt of a call, passed to `onAttempt`, for metrics and logs. */
export interface Attempt {
  /** The method's path: `/instantaudience.v1.AudienceService/ApplySegments`. */
  readonly method: string;
  /** The number of the attempt within the call, from 1. */
  readonly number: number;
  /** gRPC's status code; undefined if the attempt succeeded, Canceled if the caller cancelled it. */
  readonly code: Code | undefined;
  /** The reason that the service gave, as listed in errors.proto; "" if it gave none. */
  readonly reason: string;
  readonly ms: number;
  readonly requestId: string;
}

export type OnAttempt = (attempt: Attempt) => void;

/** Makes calls over a transport. */
export class Calling {
  /** The error of the last attempt after which another one was to come. */
  failure: AudienceError | undefined;

  constructor(
    private readonly transport: Transport,
    private readonly session: Session,
    private readonly retries: Retries,
    private readonly onAttempt: OnAttempt | undefined,
  ) {}

  /**
   * Calls a method and returns the answer's content, extracted by `read`; an undefined content is a failure. If
   * `isSafe`, the method may be executed twice, so the call is retried whenever that is useful; otherwise only if it
   * was refused.
   *
   * @throws AudienceError the call failed; or the reason of the caller's signal.
   */
  async call<Input extends DescMessage, Output extends DescMessage, Said extends object>(
    method: DescMethodUnary<Input, Output>,
    request: MessageInitShape<Input>,
    deadline: Deadline,
    read: (answer: MessageShape<Output>) => Said | undefined,
    isSafe = method.idempotency !== MethodOptions_IdempotencyLevel.IDEMPOTENCY_UNKNOWN,
  ): Promise<Said> {
    return this.callAnew(method, async () => request, deadline, read, isSafe);
  }

  /**
   * Like `call`, with a request that is made for each attempt, since it does not hold as long as the call may take.
   *
   * @throws AudienceError the call failed; or the reason of the caller's signal; or what `requested` throws.
   */
  async callAnew<Input extends DescMessage, Output extends DescMessage, Said extends object>(
    method: DescMethodUnary<Input, Output>,
    requested: () => Promise<MessageInitShape<Input>>,
    deadline: Deadline,
    read: (answer: MessageShape<Output>) => Said | undefined,
    isSafe: boolean,
  ): Promise<Said> {
    const requestId = newRequestId();
    const attempts = new Attempts(this.retries, deadline);
    let isRenewed = false;
    for (;;) {
      const token = await this.session.token(deadline);
      const request = await requested();
      const timeoutMs = attempts.timeoutMs();
      const began = performance.now();
      let outcome: Said | AudienceError;
      const ending = new AbortController();
      const forget = deadline.told((reason) => ending.abort(reason));
      try {
        const sent = headers(token, requestId);
        const { message } = await this.transport.unary(method, ending.signal, timeoutMs, sent, request);
        outcome = read(message) ?? saysNothing(requestId);
      } catch (failure) {
        outcome = ending.signal.aborted ? givenUp(requestId) : ofCall(failure, requestId);
      } finally {
        forget();
      }
      const error = outcome instanceof AudienceError ? outcome : undefined;
      this.tell(pathOf(method), attempts.count, began, requestId, error);
      if (!(outcome instanceof AudienceError)) return outcome;
      deadline.check();
      if (!(outcome instanceof UnauthenticatedError)) {
        if (!isSafe && !wasRefused(outcome)) throw outcome;
        this.failure = outcome;
        await attempts.pause(outcome);
      } else if (isRenewed || outcome.reason !== RENEWED_REASON || !this.session.refused(token)) {
        throw outcome;
      } else {
        isRenewed = true;
      }
    }
  }

  /** Reports the result of an attempt to the observer. */
  tell(method: string, number: number, began: number, requestId: string, error: AudienceError | undefined): void {
    const ms = performance.now() - began;
    this.onAttempt?.({ method, number, code: error?.code, reason: error?.reason ?? "", ms, requestId });
  }
}

/** Whether a call with this error certainly changed nothing. */
function wasRefused(error: AudienceError): boolean {
  return error instanceof RateLimitedError || error.metadata["cause"] === ErrorCause[ErrorCause.OVERLOADED];
}

/** The path of a method. */
export function pathOf(method: DescMethodUnary | { parent: { typeName: string }; name: string }): string {
  return `/${method.parent.typeName}/${method.name}`;
}

/** The headers of a call. */
export function headers(token: string | undefined, requestId: string): Headers {
  const sent = new Headers({ "x-request-id": requestId });
  if (token !== undefined) sent.set("authorization", token);
  return sent;
}

/** An ID for a call in the service's log. */
export function newRequestId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
