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
import type { Limits, Part } from "./splitting.js";
import type { User } from "./users.js";
import { type Sent, Source, type StreamResult, Window, resultOf } from "./window.js";

const METHOD = AudienceService.method.streamSegments;
/** How often it is looked whether a stream still goes on. */
const LOOK_MS = 250;

/** One stream of a call: what is under way on it, and what has failed. */
class Stream {
  readonly requestId = newRequestId();
  readonly pending: Sent[] = [];
  /** There are no more users. */
  isExhausted = false;
  /** What the caller's users came to; whatever it is, it is thrown on. */
  usersFailure: { readonly thrown: unknown } | undefined;
  /** The first failure that is worth another try: nothing new is sent after it, and what was sent is answered. */
  failure: AudienceError | undefined;
  /** Since when an answer is waited for; Infinity while the caller is busy with the last one. */
  readSinceMs = performance.now();
  /** Whether there is a connection, which takes requests; till then, it is waited for. */
  isConnected = false;
  #isOver = false;
  #wake = (): void => undefined;

  /** Whether more may be sent. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** How long the connection, the answer to the first request under way, or the end has been waited for. */
  get waitedMs(): number {
    const isSent = this.#isOver || this.isExhausted;
    const sinceMs = this.isConnected ? (this.pending[0]?.sinceMs ?? (isSent ? 0 : Infinity)) : 0;
    return performance.now() - Math.max(sinceMs, this.readSinceMs);
  }

  /** It is not worth sending more. */
  fail(error: AudienceError): void {
    this.failure ??= error;
    this.end();
  }

  /** Nothing more is sent. */
  end(): void {
    this.#isOver = true;
    this.#wake();
  }

  /** What the promise comes to; undefined where the stream is over before. Only one at a time may wait so. */
  async unlessOver<Result>(promise: Promise<Result>): Promise<Result | undefined> {
    if (this.#isOver) return undefined;
    const over = new Promise<undefined>((resolve) => {
      this.#wake = () => resolve(undefined);
    });
    return Promise.race([promise, over]);
  }

  /** The next answer. */
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

/** What streams are made with. */
interface Means {
  readonly transport: Transport;
  readonly calling: Calling;
  readonly session: Session;
  readonly pacer: Pacer;
  readonly closing: Closing;
  readonly retries: Retries;
  /** How many requests may be under way at once. */
  readonly window: number;
}

/** Streams users: in as many requests as it takes, sent again where it helps, in order. */
export class Streaming {
  constructor(private readonly means: Means) {}

  /**
   * The answers for all users, in order. Requests that fail so that it helps are sent again, as long as no more than
   * `patienceMs` pass without any progress. While users are waited for, no time passes.
   *
   * @throws AudienceError no progress for so long, or signing in failed; or the reason of the signal.
   */
  async *apply(
    users: Iterable<User> | AsyncIterable<User>,
    limits: Limits,
    patienceMs: number,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<StreamResult> {
    const window = new Window(this.means.window);
    const source = new Source(users, limits);
    try {
      for (;;) {
        if (window.isEmpty) {
          const next = await new Deadline(Infinity, signal, this.means.closing).bound(source.next());
          if (next.done === true) return;
          source.taken();
          window.add(next.value);
        }
        const token = await this.means.session.token(
          new Deadline(patienceMs - window.waitedMs, signal, this.means.closing),
        );
        const stream = new Stream();
        const began = performance.now();
        let outcome: AudienceError | undefined = givenUp(stream.requestId);
        try {
          for await (const response of this.#answers(stream, token, window, source, limits, signal)) {
            stream.take(response);
            yield* window.results();
          }
          outcome = undefined;
        } finally {
          this.means.calling.tell(pathOf(METHOD), 1, began, stream.requestId, stream.failure ?? outcome);
        }
        if (stream.usersFailure !== undefined) throw stream.usersFailure.thrown;
        if (stream.failure === undefined) {
          if (window.isEmpty) return;
          continue;
        }
        const attempt = window.failed();
        if (stream.failure instanceof UnauthenticatedError) {
          if (window.isRenewed || !this.#isRenewable(stream.failure, token)) throw stream.failure;
          window.isRenewed = true;
        } else {
          await this.#pause(
            stream.failure,
            attempt,
            new Deadline(patienceMs - window.waitedMs, signal, this.means.closing),
          );
        }
      }
    } finally {
      await source.close();
    }
  }

  /**
   * As `apply`, for transports without streams: a call for each request, one after the other.
   *
   * @throws AudienceError no progress for so long, or signing in failed; or the reason of the signal.
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
    } finally {
      await source.close();
    }
  }

  /** What becomes of a request that is sent by a call of its own. */
  async #outcome(part: Part, limits: Limits, patience: Deadline): Promise<ApplySegmentsResult | AudienceError> {
    await this.means.pacer.wait(part.users.length, limits, patience);
    const request = { rtSegment: part.users };
    try {
      const { applySegments } = AudienceService.method;
      return await this.means.calling.call(applySegments, request, patience, ({ response }) => response);
    } catch (failure) {
      if (!(failure instanceof AudienceError) || endsStream(failure)) throw failure;
      return failure;
    }
  }

  /** Whether another token can be had for the one that was refused. */
  #isRenewable(failure: UnauthenticatedError, token: string | undefined): boolean {
    return failure.reason === RENEWED_REASON && this.means.session.refused(token);
  }

  /**
   * Waits until what has failed is worth another try.
   *
   * @throws AudienceError it is not, or not in time.
   */
  async #pause(failure: AudienceError, attempt: number, patience: Deadline): Promise<void> {
    const wait = waitMs(this.means.retries, failure, attempt);
    if (wait === undefined || wait >= patience.leftMs) throw failure;
    await patience.sleep(wait);
  }

  /** The answers of a stream as they come; when it ends before all was answered, that is its failure. */
  async *#answers(
    stream: Stream,
    token: string | undefined,
    window: Window,
    source: Source,
    limits: Limits,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<StreamSegmentsResponse> {
    const ending = new AbortController();
    const caller = new Deadline(Infinity, signal, this.means.closing);
    const forget = caller.told((reason) => ending.abort(reason));
    const looking = setInterval(() => {
      if (stream.waitedMs > this.means.retries.attemptMs) {
        stream.fail(new UnavailableError("the stream does not go on", { requestId: stream.requestId }));
        ending.abort();
      }
    }, LOOK_MS);
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
      clearInterval(looking);
      forget();
      stream.end();
      ending.abort();
      // The next stream must not begin while this one may still take users.
      await requests.return(undefined);
    }
  }

  /** What has to go again, then new requests while nothing fails. */
  async *#requests(
    stream: Stream,
    window: Window,
    source: Source,
    limits: Limits,
    ending: Deadline,
  ): AsyncGenerator<MessageInitShape<typeof StreamSegmentsRequestSchema>> {
    stream.isConnected = true;
    for (const sent of window.toRepeat()) yield await this.#begin(stream, sent, limits, ending);
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
      source.taken();
      if (next.done === true) {
        stream.isExhausted = true;
        return;
      }
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

/** Whether a request that failed so is not answered by it: nothing goes on before it can be sent again. */
function endsStream(error: AudienceError): boolean {
  return error.isWorthAnotherTry || error instanceof UnauthenticatedError;
}
