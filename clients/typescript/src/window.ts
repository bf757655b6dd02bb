import { AudienceError } from "./errors.js";
import type { ApplySegmentsResult } from "./gen/instantaudience/v1/audience_pb.js";
import { type Limits, type Part, joined, keys, parts } from "./splitting.js";
import type { User } from "./users.js";

/** What became of users that went in one request, in the order they were given. */
export interface StreamResult {
  /** Which of the users given its first one is, from 0. */
  readonly firstUser: number;
  /** How many of them it is about; the blocks of its last one may go on in the next. */
  readonly users: number;
  /** What was read and skipped; undefined where the request failed. Paths count the users given, from 0. */
  readonly result: ApplySegmentsResult | undefined;
  /** Why the request failed; sending it again would not help. */
  readonly error: AudienceError | undefined;
}

/** A request under way, until it is answered for good. */
export interface Sent {
  readonly part: Part;
  attempts: number;
  sinceMs: number;
  outcome: ApplySegmentsResult | AudienceError | undefined;
}

/** The requests that the caller has no result of, in order; so many at most. */
export class Window {
  readonly #sent: Sent[] = [];
  /** Since when the first one waits without any progress; where there is none, nothing waits. */
  #waitsSinceMs = performance.now();
  /** How many streams have failed since the last progress. */
  #failures = 0;
  /** Whether the token is new since then: one that is refused as well is refused for good. */
  isRenewed = false;
  #gotRoom = (): void => undefined;

  constructor(private readonly most: number) {}

  get isEmpty(): boolean {
    return this.#sent.length === 0;
  }

  get isFull(): boolean {
    return this.#sent.length >= this.most;
  }

  /** How long there has been no progress. */
  get waitedMs(): number {
    return performance.now() - this.#waitsSinceMs;
  }

  /** Another stream has failed; which attempt that was of what has failed most often, from 0. */
  failed(): number {
    this.#failures += 1;
    if (this.isEmpty) this.#waitsSinceMs = performance.now();
    return this.#sent.reduce((most, sent) => Math.max(most, sent.attempts), this.#failures) - 1;
  }

  add(part: Part): Sent {
    if (this.isEmpty) this.#waitsSinceMs = performance.now();
    const sent: Sent = { part, attempts: 0, sinceMs: 0, outcome: undefined };
    this.#sent.push(sent);
    return sent;
  }

  /** Resolved when there is room again. */
  async room(): Promise<void> {
    if (!this.isFull) return;
    await new Promise<void>((resolve) => {
      this.#gotRoom = resolve;
    });
  }

  /** The first ones that are answered for good; each makes room, and is progress. */
  *results(): Generator<StreamResult> {
    for (let first = this.#sent[0]; first?.outcome !== undefined; first = this.#sent[0]) {
      this.#sent.shift();
      this.#gotRoom();
      yield resultOf(first.part, first.outcome);
      this.#waitsSinceMs = performance.now();
      this.#failures = 0;
      this.isRenewed = false;
    }
  }

  /**
   * What is not answered for good, and all after it that changes one of the same users.
   *
   * That was applied before what failed; applied again after it, it leaves what it should.
   */
  toRepeat(): Sent[] {
    const again: Sent[] = [];
    const changed = new Set<string>();
    for (const sent of this.#sent) {
      const mine = keys(sent.part);
      if (sent.outcome !== undefined && ![...mine].some((key) => changed.has(key))) continue;
      sent.outcome = undefined;
      for (const key of mine) changed.add(key);
      again.push(sent);
    }
    return again;
  }
}

/** The requests to come. One that is waited for stays asked for when its stream ends meanwhile. */
export class Source {
  readonly #parts: AsyncGenerator<Part, undefined>;
  #asked: Promise<IteratorResult<Part, undefined>> | undefined;

  constructor(users: Iterable<User> | AsyncIterable<User>, limits: Limits) {
    this.#parts = parts(users, limits);
  }

  /**
   * The next request; the same until it is taken.
   *
   * @throws whatever the caller's users throw.
   */
  next(): Promise<IteratorResult<Part, undefined>> {
    this.#asked ??= this.#parts.next();
    return this.#asked;
  }

  /** Another one comes next. */
  taken(): void {
    this.#asked = undefined;
  }

  /** Nothing more is wanted. What is waited for meanwhile is not waited for any longer. */
  async close(): Promise<void> {
    const returned = this.#parts.return(undefined);
    if (this.#asked === undefined) await returned;
    else returned.catch(() => undefined);
  }
}

/** What the caller is told of a request. */
export function resultOf(part: Part, outcome: ApplySegmentsResult | AudienceError): StreamResult {
  const firstUser = part.places[0]?.user ?? 0;
  const users = (part.places.at(-1)?.user ?? 0) - firstUser + 1;
  return outcome instanceof AudienceError
    ? { firstUser, users, result: undefined, error: outcome }
    : { firstUser, users, result: joined([part], [outcome]), error: undefined };
}
