import { DeadlineExceededError, UnavailableError } from "./errors.js";

/** What a timer takes at most: a longer one would fire at once. */
const MOST_TIMER_MS = 2 ** 31 - 1;

/** Hears what to fail with. */
type Tell = (reason: unknown) => void;

/** Who is to hear of each signal. It has one listener for all of them: of more than ten, Node.js warns as of a leak. */
const heard = new WeakMap<AbortSignal, Set<Tell>>();

function aborted(this: AbortSignal): void {
  for (const tell of heard.get(this) ?? []) tell(this.reason);
}

/** Tells a signal's reason when it is aborted, unless what it answers with is called before. */
function hear(signal: AbortSignal, tell: Tell): () => void {
  const all = heard.get(signal) ?? new Set();
  heard.set(signal, all.add(tell));
  signal.addEventListener("abort", aborted);
  return () => {
    all.delete(tell);
    if (all.size === 0) signal.removeEventListener("abort", aborted);
  };
}

/** The end of a client, and who is to hear of it. */
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

  /** Tells what to fail with when the client is closed, unless what it answers with is called before. */
  told(tell: Tell): () => void {
    this.#told.add(tell);
    return () => this.#told.delete(tell);
  }
}

function closed(): UnavailableError {
  return new UnavailableError("the client is closed");
}

/**
 * What ends a call before its answer: the caller's time, the caller's signal, and the client's end. Times are those of
 * `performance.now`.
 */
export class Deadline {
  readonly #endsMs: number;

  /**
   * `ms` from now; Infinity where nothing but the others ends it.
   *
   * @throws TypeError it is NaN.
   */
  constructor(
    ms: number,
    readonly signal?: AbortSignal,
    readonly closing?: Closing,
  ) {
    if (Number.isNaN(ms)) throw new TypeError("deadlineMs is NaN: it has to be a number of milliseconds");
    this.#endsMs = performance.now() + ms;
  }

  /** What is left of the time. */
  get leftMs(): number {
    return this.#endsMs - performance.now();
  }

  /** @throws the signal's reason, where the caller has given up; UnavailableError the client is closed. */
  check(): void {
    this.signal?.throwIfAborted();
    this.closing?.check();
  }

  /** Tells what to fail with when the caller gives up or the client is closed, unless what it answers with is called before. */
  told(tell: Tell): () => void {
    const forget = [this.closing?.told(tell), this.signal && hear(this.signal, tell)];
    return () => forget.forEach((each) => each?.());
  }

  /**
   * Waits so long.
   *
   * @throws the signal's reason, as soon as the caller gives up; UnavailableError, as soon as the client is closed.
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
   * What the promise comes to, where it does in time.
   *
   * @throws DeadlineExceededError it does not; the signal's reason; or UnavailableError, where the client is closed.
   */
  async bound<Result>(promise: Promise<Result>): Promise<Result> {
    promise.catch(() => undefined); // Where this has ended before, nobody else hears of it: Node.js would end the process.
    this.check();
    let stop = (): void => undefined;
    const late = new Promise<never>((_, reject) => {
      stop = after(this.leftMs, () => reject(new DeadlineExceededError("the caller's time is over")));
    });
    try {
      return await this.#orEnded(Promise.race([promise, late]));
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

/** Acts after so long, unless what it answers with is called before. */
function after(ms: number, act: () => void): () => void {
  let timer: ReturnType<typeof setTimeout>;
  const wait = (leftMs: number): void => {
    timer =
      leftMs > MOST_TIMER_MS ? setTimeout(() => wait(leftMs - MOST_TIMER_MS), MOST_TIMER_MS) : setTimeout(act, leftMs);
  };
  wait(ms);
  return () => clearTimeout(timer);
}
