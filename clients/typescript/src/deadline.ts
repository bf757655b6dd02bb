import { DeadlineExceededError } from "./errors.js";

/** What a timer takes at most: a longer one would fire at once. */
const MOST_TIMER_MS = 2 ** 31 - 1;

/** What ends a call before its answer: the caller's time, and the caller's signal. Times are those of `performance.now`. */
export class Deadline {
  readonly #endsMs: number;

  /**
   * `ms` from now; Infinity where nothing but the signal ends it.
   *
   * @throws TypeError it is NaN.
   */
  constructor(
    ms: number,
    readonly signal?: AbortSignal,
  ) {
    if (Number.isNaN(ms)) throw new TypeError("deadlineMs is NaN: it has to be a number of milliseconds");
    this.#endsMs = performance.now() + ms;
  }

  /** What is left of the time. */
  get leftMs(): number {
    return this.#endsMs - performance.now();
  }

  /** @throws the signal's reason, where the caller has given up. */
  check(): void {
    this.signal?.throwIfAborted();
  }

  /**
   * Waits so long.
   *
   * @throws the signal's reason, as soon as the caller gives up.
   */
  async sleep(ms: number): Promise<void> {
    this.check();
    let stop = (): void => undefined;
    const slept = new Promise<void>((resolve) => {
      stop = after(ms, resolve);
    });
    try {
      await this.#orAborted(slept);
    } finally {
      stop();
    }
  }

  /**
   * What the promise comes to, where it does in time.
   *
   * @throws DeadlineExceededError it does not; or the signal's reason.
   */
  async bound<Result>(promise: Promise<Result>): Promise<Result> {
    this.check();
    let stop = (): void => undefined;
    const late = new Promise<never>((_, reject) => {
      stop = after(this.leftMs, () => reject(new DeadlineExceededError("the caller's time is over")));
    });
    try {
      return await this.#orAborted(Promise.race([promise, late]));
    } finally {
      stop();
    }
  }

  async #orAborted<Result>(promise: Promise<Result>): Promise<Result> {
    const signal = this.signal;
    if (signal === undefined) return promise;
    let abort = (): void => undefined;
    const aborted = new Promise<never>((_, reject) => {
      abort = () => reject(signal.reason);
      signal.addEventListener("abort", abort);
    });
    try {
      return await Promise.race([promise, aborted]);
    } finally {
      signal.removeEventListener("abort", abort);
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
