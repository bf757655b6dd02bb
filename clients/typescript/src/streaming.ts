import type { MessageInitShape } from "@bufbuild/protobuf";
import type { StreamResponse, Transport } from "@connectrpc/connect";
import { type Calling, headers, newRequestId, pathOf } from "./calling.js";
import { type Closing, Deadline } from "./deadline.js";
import {
  AudienceError,
  InternalError,
  UnauthenticatedError,
  UnavailableError,
  givenUp,
  ofCall,
  ofStatus,
  saysNothing,
} from "./errors.js";
import {
  type ApplySegmentsResult,
  AudienceService,
  type StreamSegmentsRequestSchema,
  type StreamSegmentsResponse,
  type StreamSegmentsResponseSchema,
} from "./gen/instantaudience/v1/audience_pb.js";
import type { Pacer } from "./pacing.js";
import { type Retries, waitMs } from "./retrying.js";
import { RENEWED_REASON } from "./rules.js";
import type { Session } from "./session.js";
import { type Limits, type Part, unreadable } from "./splitting.js";
import type { User } from "./users.js";
import { type Sent, Source, type StreamResult, Window, resultOf } from "./window.js";

const METHOD = AudienceService.method.streamSegments;
/** Interval between checks whether a stream is stuck. */
const LOOK_MS = 250;

/** One stream of a call: what is in flight on it, and why it failed. */
class Stream {
  readonly requestId = newRequestId();
  readonly pending: Sent[] = [];
  /** There is nothing more to send: no more users, or first those of a request that cannot be sent. */
  isExhausted = false;
  /** What the caller's users threw, to be thrown again. */
  usersFailure: { readonly thrown: unknown } | undefined;
  /** The first error that is worth a retry: after it nothing is sent, but answers are still read. */
  failure: AudienceError | undefined;
  /** Since when an answer has been waited for; Infinity while the caller processes a result. */
  readSinceMs = performance.now();
  /** Whether the connection is established. */
  isConnected = false;
  #isOver = false;
  #wake = (): void => undefined;

  /** Whether nothing more may be sent. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** How long the connection, the answer to the first request in flight, or the end has been waited for. */
  get waitedMs(): number {
    const isSent = this.#isOver || this.isExhausted;
    const sinceMs = this.isConnected ? (this.pending[0]?.sinceMs ?? (isSent ? 0 : Infinity)) : 0;
    return performance.now() - Math.max(sinceMs, this.readSinceMs);
  }

  /** Does not count this time, in which the process was stopped or busy, as time that an answer has been waited for. */
  excuse(ms: number): void {
    const now = performance.now();
    if (ms > 0 && this.readSinceMs < now) this.readSinceMs = Math.min(now, this.readSinceMs + ms);
  }

  /** Notes an error, after which nothing is sent. */
  fail(error: AudienceError): void {
    this.failure ??= error;
    this.end();
  }

  /** Stops sending. */
  end(): void {
    this.#isOver = true;
    this.#wake();
  }

  /** The promise's result; undefined if the stream ends before that. Only one caller may wait at a time. */
  async unlessOver<Result>(promise: Promise<Result>): Promise<Result | undefined> {
    if (this.#isOver) return undefined;
    const over = new Promise<undefined>((resolve) => {
      this.#wake = () => resolve(undefined);
    });
    return Promise.race([promise, over]);
  }

  /** Processes an answer. */
  take({ outcome, requestId }: StreamSegmentsResponse): void {
    const sent = this.pending.shift();
    if (sent === undefined) {
      this.failure = new InternalError("an answer to nothing", { requestId: this.requestId });
      throw this.failure;
    }
    if (outcome.case === "response") {
      sent.outcome = outcome.value;
      return;
    }
    const error =
      outcome.case === "error" ? ofStatus(outcome.value, requestId || this.requestId) : saysNothing(this.requestId);
    if (endsStream(error)) this.fail(error);
    else sent.outcome = error;
  }
}

/** What all streams of a client share. */
interface Means {
  readonly transport: Transport;
  readonly calling: Calling;
  readonly session: Session;
  readonly pacer: Pacer;
  readonly closing: Closing;
  readonly retries: Retries;
  /** The maximum number of requests in flight. */
  readonly window: number;
}

/** Streams users in as many requests as necessary; failed requests are retried, in order. */
export class Streaming {
  constructor(private readonly means: Means) {}

  /**
   * The results for all users, in order. Failed requests are retried, if that is useful, until `patienceMs` have passed
   * without progress. Time spent waiting for users, or in which the process is stopped, does not count.
   *
   * @throws AudienceError there was no progress for too long, or signing in failed; or the reason of the signal.
   */
  async *apply(
    users: Iterable<User> | AsyncIterable<User>,
    limits: Limits,
    patienceMs: number,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<StreamResult> {
    const window = new Window(this.means.window);
    const source = new Source(users, limits);
    const caller = new Deadline(Infinity, signal, this.means.closing);
    const forget = caller.told(() => source.end()); // The caller may take no more results, and not say so.
    try {
      for (;;) {
        if (window.isEmpty) {
          const next = await caller.bound(source.next());
          if (next.done === true) return;
          source.taken();
          const refused = unreadable(next.value);
          if (refused !== undefined) {
            yield resultOf(next.value, refused);
            continue;
          }
          window.add(next.value);
        }
        const token = await this.means.session.token(
          new Deadline(patienceMs - window.waitedMs, signal, this.means.closing),
        );
        const stream = new Stream();
        const began = performance.now();
        let outcome: AudienceError | undefined = givenUp(stream.requestId);
        try {
          for await (const response of this.#answers(stream, token, window, source, limits, caller)) {
            stream.take(response);
            yield* window.results();
          }
          outcome = undefined;
        } finally {
          this.means.calling.tell(pathOf(METHOD), 1, began, stream.requestId, stream.failure ?? outcome);
        }
        if (stream.usersFailure !== undefined) throw stream.usersFailure.thrown;
        if (stream.failure === undefined) continue;
        const attempt = window.failed();
        if (stream.failure instanceof UnauthenticatedError) {
          if (window.isRenewed || !this.#isRenewable(stream.failure, token)) throw stream.failure;
          window.isRenewed = true;
        } else {
          await this.#pause(
            stream.failure,
            attempt,
            window,
            new Deadline(patienceMs - window.waitedMs, signal, this.means.closing),
          );
        }
      }
    } catch (thrown) {
      // What the users throw when they are told of the end does not count then.
      await source.close().catch(() => undefined);
      throw thrown;
    } finally {
      forget();
      await source.close();
    }
  }

  /**
   * Like `apply`, for transports without streams: makes a unary call for each request, one after the other.
   *
   * @throws AudienceError there was no progress for too long, or signing in failed; or the reason of the signal.
   */
  async *applyOneByOne(
    users: Iterable<User> | AsyncIterable<User>,
    limits: Limits,
    patienceMs: number,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<StreamResult> {
    const source = new Source(users, limits);
    try {
      for (;;) {
        const next = await new Deadline(Infinity, signal, this.means.closing).bound(source.next());
        if (next.done === true) return;
        source.taken();
        const patience = new Deadline(patienceMs, signal, this.means.closing);
        yield resultOf(next.value, await this.#outcome(next.value, limits, patience));
      }
    } catch (thrown) {
      await source.close().catch(() => undefined); // As in `apply`.
      throw thrown;
    } finally {
      await source.close();
    }
  }

  /** The outcome of a request that is sent by a unary call. */
  async #outcome(part: Part, limits: Limits, patience: Deadline): Promise<ApplySegmentsResult | AudienceError> {
    const refused = unreadable(part);
    if (refused !== undefined) return refused;
    await this.means.pacer.wait(part.users.length, limits, patience);
    const request = { rtSegment: part.users };
    try {
      const { applySegments } = AudienceService.method;
      return await this.means.calling.call(applySegments, request, patience, ({ response }) => response);
    } catch (failure) {
      patience.check(); // Why the caller has given up may be an AudienceError, of another call.
      if (!(failure instanceof AudienceError) || endsStream(failure)) throw failure;
      return failure;
    }
  }

  /** Whether a rejected token can be renewed. */
  #isRenewable(failure: UnauthenticatedError, token: string | undefined): boolean {
    return failure.reason === RENEWED_REASON && this.means.session.refused(token);
  }

  /**
   * Sleeps until the failure is worth a retry.
   *
   * @throws AudienceError the failure, if it never is, or not before patience ends.
   */
  async #pause(failure: AudienceError, attempt: number, window: Window, patience: Deadline): Promise<void> {
    const wait = waitMs(this.means.retries, failure, attempt);
    if (wait === undefined || wait >= patience.leftMs) throw failure;
    const began = performance.now();
    await patience.sleep(wait);
    window.excuse(performance.now() - began - wait);
  }

  /** The answers of a stream. If it ends before everything is answered, that becomes its failure. */
  async *#answers(
    stream: Stream,
    token: string | undefined,
    window: Window,
    source: Source,
    limits: Limits,
    caller: Deadline,
  ): AsyncGenerator<StreamSegmentsResponse> {
    const ending = new AbortController();
    const forget = caller.told((reason) => ending.abort(reason));
    let lookedMs = performance.now();
    const look = (): void => {
      const now = performance.now();
      const lateMs = now - lookedMs - LOOK_MS;
      stream.excuse(lateMs);
      window.excuse(lateMs);
      lookedMs = now;
    };
    const looking = setInterval(() => {
      look();
      if (stream.waitedMs > this.means.retries.attemptMs) {
        stream.fail(new UnavailableError("the stream does not go on", { requestId: stream.requestId }));
        ending.abort();
      }
    }, LOOK_MS);
    ending.signal.addEventListener("abort", () => clearInterval(looking));
    const over = new Deadline(Infinity, ending.signal);
    const requests = this.#requests(stream, window, source, limits, over);
    try {
      caller.check();
      const sent = headers(token, stream.requestId);
      const call: StreamResponse<typeof StreamSegmentsRequestSchema, typeof StreamSegmentsResponseSchema> =
        // While it connects, it heeds no signal.
        await over.bound(this.means.transport.stream(METHOD, ending.signal, undefined, sent, requests));
      for await (const answer of call.message) {
        stream.readSinceMs = Infinity;
        yield answer;
        stream.readSinceMs = performance.now();
      }
      if (!stream.isExhausted || stream.pending.length > 0) {
        stream.fail(new UnavailableError("the stream ended early", { requestId: stream.requestId }));
      }
    } catch (failure) {
      caller.check();
      stream.fail(ofCall(failure, stream.requestId));
    } finally {
      look();
      forget();
      stream.end();
      ending.abort();
      // The next stream must not begin while this one may still take users.
      await requests.return(undefined);
    }
  }

  /** What is to be repeated, then new requests, until something fails. */
  async *#requests(
    stream: Stream,
    window: Window,
    source: Source,
    limits: Limits,
    ending: Deadline,
  ): AsyncGenerator<MessageInitShape<typeof StreamSegmentsRequestSchema>> {
    stream.isConnected = true;
    for (const sent of window.toRepeat()) {
      if (stream.isOver) return;
      yield await this.#begin(stream, sent, limits, ending);
    }
    while (!stream.isOver) {
      if (window.isFull) {
        await stream.unlessOver(window.room());
        continue;
      }
      let next;
      try {
        next = await stream.unlessOver(source.next());
      } catch (thrown) {
        stream.usersFailure = { thrown };
        stream.isExhausted = true;
        return;
      }
      if (next === undefined) return;
      ending.check(); // Else the end of a source that was told to end would be that of the users.
      if (next.done === true || unreadable(next.value) !== undefined) {
        stream.isExhausted = true;
        return;
      }
      source.taken();
      yield await this.#begin(stream, window.add(next.value), limits, ending);
    }
  }

  async #begin(
    stream: Stream,
    sent: Sent,
    limits: Limits,
    ending: Deadline,
  ): Promise<MessageInitShape<typeof StreamSegmentsRequestSchema>> {
    await this.means.pacer.wait(sent.part.users.length, limits, ending);
    sent.attempts += 1;
    sent.sinceMs = performance.now();
    stream.pending.push(sent);
    return { rtSegment: sent.part.users };
  }
}

/** Whether this error of a request ends the stream instead of answering the request, which has to be retried first. */
function endsStream(error: AudienceError): boolean {
  return error.isWorthAnotherTry || error instanceof UnauthenticatedError;
}
