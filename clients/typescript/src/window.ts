import { AudienceError } from "./errors.js";
import type { ApplySegmentsResult } from "./gen/instantaudience/v1/audience_pb.js";
import { LINGER_MS } from "./rules.js";
import { type Limits, type Part, Splitter, joined, keys, parts } from "./splitting.js";
import type { User } from "./users.js";

/** The result for the users that were sent in one request, in the order in which they were given. */
export interface StreamResult {
  /** Index of the first of these users among those given. */
  readonly firstUser: number;
  /** Number of users. */
  readonly users: number;
  /** Whether the last of these users has more blocks, which the next result is for. All others are settled. */
  readonly continues: boolean;
  /** Counts and warnings; undefined if the request failed. Paths count the users given, from 0. */
  readonly result: ApplySegmentsResult | undefined;
  /** Why the request failed, if it did; sending it again would not help. */
  readonly error: AudienceError | undefined;
}

/** A request in flight, until it has its final answer. */
export interface Sent {
  readonly part: Part;
  attempts: number;
  sinceMs: number;
  outcome: ApplySegmentsResult | AudienceError | undefined;
}

/** The requests without a result so far, in order; at most `most`. */
export class Window {
  readonly #sent: Sent[] = [];
  /** Since when the first one has been waiting without progress. */
  #waitsSinceMs = performance.now();
  /** Number of streams that failed since the last progress. */
  #failures = 0;
  /** Whether the token was renewed since then: if the new one is rejected, too, that is final. */
  isRenewed = false;
  #gotRoom = (): void => undefined;

  constructor(private readonly most: number) {}

  get isEmpty(): boolean {
    return this.#sent.length === 0;
  }

  get isFull(): boolean {
    return this.#sent.length >= this.most;
  }

  /** Milliseconds without progress. */
  get waitedMs(): number {
    return performance.now() - this.#waitsSinceMs;
  }

  /** Does not count this time, in which the process was stopped or busy, as time without progress. */
  excuse(ms: number): void {
    this.#waitsSinceMs = Math.min(performance.now(), this.#waitsSinceMs + Math.max(0, ms));
  }

  /** Counts a failed stream; returns the number of the attempt, from 0, of what has failed most often. */
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

  /** Resolves when there is room again. */
  async room(): Promise<void> {
    if (!this.isFull) return;
    await new Promise<void>((resolve) => {
      this.#gotRoom = resolve;
    });
  }

  /** The results of the first requests, as far as they have one; each makes room, and counts as progress. */
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
   * The requests without a final answer, and all after them that change one of the same users.
   *
   * Those were applied before the failed ones; applying them again afterwards restores the right order.
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

/** A read of the users' iterator. */
interface Read {
  readonly result: Promise<IteratorResult<Part, undefined>>;
  isDone: boolean;
  /** Is called when it is done. */
  tell: () => void;
}

/** The source of requests. A pending read of the iterator outlives the stream that waits for it. */
export class Source {
  readonly #splitter: Splitter;
  readonly #parts: AsyncGenerator<Part, undefined>;
  #read: Read | undefined;
  #next: Promise<IteratorResult<Part, undefined>> | undefined;
  #isOver = false;

  constructor(users: Iterable<User> | AsyncIterable<User>, limits: Limits) {
    this.#splitter = new Splitter(limits);
    this.#parts = parts(users, this.#splitter, () => this.#isOver);
  }

  /**
   * The next request: a full one or, if that takes long, with the users that are there. The same until it is taken.
   *
   * @throws whatever the caller's users throw.
   */
  next(): Promise<IteratorResult<Part, undefined>> {
    this.#next ??= this.#fullOrLate();
    return this.#next;
  }

  /** Moves on to the next request. */
  taken(): void {
    this.#next = undefined;
  }

  /** Takes no more users, and gives no more that have waited for others. */
  end(): void {
    this.#isOver = true;
    this.#read?.tell();
  }

  /** Stops reading, without waiting for a pending read. */
  async close(): Promise<void> {
    this.end();
    const returned = this.#parts.return(undefined);
    if (this.#read === undefined) await returned;
    else returned.catch(() => undefined);
  }

  async #fullOrLate(): Promise<IteratorResult<Part, undefined>> {
    const read = (this.#read ??= begin(this.#parts));
    while (!read.isDone && !this.#isOver) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, LINGER_MS);
        read.tell = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      const [late] = read.isDone || this.#isOver ? [] : this.#splitter.flush();
      if (late !== undefined) return { done: false, value: late };
    }
    if (read.isDone) this.#read = undefined;
    return read.result;
  }
}

function begin(parts: AsyncGenerator<Part, undefined>): Read {
  const read: Read = { result: parts.next(), isDone: false, tell: () => undefined };
  const end = (): void => {
    read.isDone = true;
    read.tell();
  };
  read.result.then(end, end);
  return read;
}

/** The result that the caller gets for a request. */
export function resultOf(part: Part, outcome: ApplySegmentsResult | AudienceError): StreamResult {
  const firstUser = part.places[0]?.user ?? 0;
  const users = (part.places.at(-1)?.user ?? 0) - firstUser + 1;
  const { continues } = part;
  return outcome instanceof AudienceError
    ? { firstUser, users, continues, result: undefined, error: outcome }
    : { firstUser, users, continues, result: joined([part], [outcome]), error: undefined };
}
