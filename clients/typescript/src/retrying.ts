import type { Deadline } from "./deadline.js";
import { type AudienceError, DeadlineExceededError } from "./errors.js";
import { ATTEMPT_MS, FIRST_PAUSE_MS, MOST_PAUSE_MS } from "./rules.js";

/**
 * How long to wait before a call is sent again. The first time somewhere up to `firstMs`, each time up to twice as long,
 * at most `mostMs`; never less than what the service asks for, with a little more, so that not all come at once.
 */
export interface Retries {
  readonly firstMs: number;
  readonly mostMs: number;
  /** What one attempt may take: one that hangs is given up, and the next one begins. */
  readonly attemptMs: number;
  /** A number from 0 to 1, as of `Math.random`. */
  readonly random: () => number;
}

export const DEFAULT_RETRIES: Retries = {
  firstMs: FIRST_PAUSE_MS,
  mostMs: MOST_PAUSE_MS,
  attemptMs: ATTEMPT_MS,
  random: Math.random,
};

/** @throws TypeError a pause is below 0, an attempt may take no time, or one of them is NaN. */
export function checkRetries(retries: Retries): void {
  for (const name of ["firstMs", "mostMs"] as const) {
    if (!(retries[name] >= 0)) throw new TypeError(`${name} is ${retries[name]}: a pause is 0 at least`);
  }
  if (!(retries.attemptMs > 0)) {
    throw new TypeError(`attemptMs is ${retries.attemptMs}: an attempt takes more than 0`);
  }
}

/** gRPC's timeouts have eight digits at most. */
const MOST_TIMEOUT_MS = 99_999_999;

/** How long to wait after the attempt (the first is 0) that failed so; undefined where it is not to be repeated. */
export function waitMs(retries: Retries, error: AudienceError, attempt: number): number | undefined {
  if (!error.isWorthAnotherTry) return undefined;
  const most = Math.min(retries.mostMs, retries.firstMs * 2 ** Math.min(attempt, 30));
  return (error.retryAfterMs ?? 0) + retries.random() * most;
}

/** The attempts of one call, until its deadline. */
export class Attempts {
  /** How many have begun. */
  count = 0;

  constructor(
    private readonly retries: Retries,
    private readonly deadline: Deadline,
  ) {}

  /**
   * How long the next attempt may take.
   *
   * @throws DeadlineExceededError there is no time left; nothing is sent.
   */
  timeoutMs(): number {
    this.deadline.check();
    const left = this.deadline.leftMs;
    if (left <= 0) throw new DeadlineExceededError("the caller's time was over before it could be sent");
    this.count += 1;
    // Whole ones: what has a fraction is no timeout of gRPC.
    return Math.ceil(Math.min(left, this.retries.attemptMs, MOST_TIMEOUT_MS));
  }

  /**
   * Waits for the next attempt.
   *
   * @throws AudienceError the error, where the call is not to be sent again, or not in time.
   */
  async pause(error: AudienceError): Promise<void> {
    const wait = waitMs(this.retries, error, this.count - 1);
    if (wait === undefined || wait >= this.deadline.leftMs) throw error;
    await this.deadline.sleep(wait);
    if (this.deadline.leftMs <= 0) throw error;
  }
}
