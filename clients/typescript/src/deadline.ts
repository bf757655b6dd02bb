import { type AudienceError, DeadlineExceededError, UnavailableError } from "./errors.js";

/** The longest timeout of a timer: with a longer one, it would fire at once. */
export const MOST_TIMER_MS = 2 ** 31 - 1;

/** Receives the reason to fail with. */
type Tell = (reason: unknown) => void;

/**
 * The receivers of each signal. A signal gets one listener for all of them: with more than ten, Node.js warns of a
 * leak.
 */
const heard = new WeakMap<AbortSignal, Set<Tell>>();

function aborted(this: AbortSignal): void {
  for (const tell of heard.get(this) ?? []) tell(this.reason);
}

/** Passes on a signal's reason when it is aborted; the returned function cancels that. */
function hear(signal: AbortSignal, tell: Tell): () => void {
  const all = heard.get(signal) ?? new Set();
  heard.set(signal, all.add(tell));
  signal.addEventListener("abort", aborted);
  return () => {
    all.delete(tell);
    if (all.size === 0) signal.removeEventListener("abort", aborted);
  };
}

/** The closing of a client, and those that are to be notified of it. */
export class Closing {
  #isClosed = false;
  readonly #told = new Set<Tell>();

  close(): void {
    this.#isClosed = true;
    for (const tell of this.#told) tell(closed());
  }

  /** @throws UnavailableError the client is closed. */
  check(): void {
    if (this.#isClosed) throw closed();
  }

  /** Calls `tell` when the client is closed; the returned function cancels that. */
  told(tell: Tell): () => void {
    this.#told.add(tell);
    return () => this.#told.delete(tell);
  }
}

/** The error of what a caller's deadline ends. */
export function overdue(): DeadlineExceededError {
  return new DeadlineExceededError("the caller's time is over");
}

function closed(): UnavailableError {
  return new UnavailableError("the client is closed");
}

/**
 * What can end a call early: the caller's deadline, the caller's signal, and the closing of the client. Times are those
 * of `performance.now`.
 */
export class Deadline {
  readonly #endsMs: number;

  /**
   * `ms` is the time from now; Infinity for none.
   *
   * @throws TypeError it is NaN, or no number, which callers without types may pass.
   */
  constructor(
    ms: number,
    readonly signal?: AbortSignal,
    readonly closing?: Closing,
  ) {
    if (typeof ms !== "number" || Number.isNaN(ms)) {
      throw new TypeError(`deadlineMs is ${ms}: it has to be a number of milliseconds`);
    }
    this.#endsMs = performance.now() + ms;
  }

  /** Milliseconds until the deadline. */
  get leftMs(): number {
    return this.#endsMs - performance.now();
  }

  /** @throws the signal's reason, where the caller has given up; UnavailableError the client is closed. */
  check(): void {
    this.signal?.throwIfAborted();
    this.closing?.check();
  }

  /** Calls `tell` when the caller cancels or the client is closed; the returned function cancels that. */
  told(tell: Tell): () => void {
    const forget = [this.closing?.told(tell), this.signal && hear(this.signal, tell)];
    return () => forget.forEach((each) => each?.());
  }

  /**
   * Sleeps for this time.
   *
   * @throws the signal's reason, as soon as the caller cancels; UnavailableError, as soon as the client is closed.
   */
  async sleep(ms: number): Promise<void> {
    this.check();
    let stop = (): void => undefined;
    const slept = new Promise<void>((resolve) => {
      stop = after(ms, resolve);
    });
    try {
      await this.#orEnded(slept);
    } finally {
      stop();
    }
  }

  /**
   * The promise's result, if it is available before the deadline.
   *
   * @throws what `late` says, if it is not; the signal's reason; or UnavailableError, if the client is closed.
   */
  async bound<Result>(promise: Promise<Result>, late: () => AudienceError = overdue): Promise<Result> {
    promise.catch(() => undefined); // Where this has ended before, nobody else hears of it: Node.js would end the process.
    this.check();
    let stop = (): void => undefined;
    const ended = new Promise<never>((_, reject) => {
      stop = after(this.leftMs, () => reject(late()));
    });
    try {
      return await this.#orEnded(Promise.race([promise, ended]));
    } finally {
      stop();
    }
  }

  async #orEnded<Result>(promise: Promise<Result>): Promise<Result> {
    let end: Tell = () => undefined;
    const ended = new Promise<never>((_, reject) => {
      end = reject;
    });
    const forget = this.told(end);
    try {
      return await Promise.race([promise, ended]);
    } finally {
      forget();
    }
  }
}

/** Calls `act` after this time; the returned function cancels that. */
function after(ms: number, act: () => void): () => void {
  let timer: ReturnType<typeof setTimeout>;
  const wait = (leftMs: number): void => {
    timer =
      leftMs > MOST_TIMER_MS ? setTimeout(() => wait(leftMs - MOST_TIMER_MS), MOST_TIMER_MS) : setTimeout(act, leftMs);
  };
  wait(ms);
  return () => clearTimeout(timer);
}
