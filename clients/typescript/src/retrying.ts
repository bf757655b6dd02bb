import type { Deadline } from "./deadline.js";
import { type AudienceError, DeadlineExceededError } from "./errors.js";
import { ATTEMPT_MS, FIRST_PAUSE_MS, MOST_PAUSE_MS } from "./rules.js";

/**
 * The pauses before retries. The first pause is random between 0 and `firstMs`; the maximum doubles each time, up to
 * `mostMs`. A delay that the service asks for is added.
 */
export interface Retries {
  readonly firstMs: number;
  readonly mostMs: number;
  /** The timeout of one attempt; one that hangs is abandoned, and the next one begins. */
  readonly attemptMs: number;
  /** A random number from 0 to 1, such as `Math.random`. */
  readonly random: () => number;
}

export const DEFAULT_RETRIES: Retries = {
  firstMs: FIRST_PAUSE_MS,
  mostMs: MOST_PAUSE_MS,
  attemptMs: ATTEMPT_MS,
  random: Math.random,
};

/** @throws TypeError a pause is negative, the timeout is not positive, or one of them is NaN. */
export function checkRetries(retries: Retries): void {
  for (const name of ["firstMs", "mostMs"] as const) {
    if (!(retries[name] >= 0)) throw new TypeError(`${name} is ${retries[name]}: a pause is 0 at least`);
  }
  if (!(retries.attemptMs > 0)) {
    throw new TypeError(`attemptMs is ${retries.attemptMs}: an attempt takes more than 0`);
  }
}

/** gRPC's timeouts have at most eight digits. */
const MOST_TIMEOUT_MS = 99_999_999;

/** The pause after an attempt (the first is 0) that failed with this error; undefined if it is not to be retried. */
export function waitMs(retries: Retries, error: AudienceError, attempt: number): number | undefined {
  if (!error.isWorthAnotherTry) return undefined;
  const most = Math.min(retries.mostMs, retries.firstMs * 2 ** Math.min(attempt, 30));
  return (error.retryAfterMs ?? 0) + retries.random() * most;
}

/** The attempts of a call until its deadline. */
export class Attempts {
  /** Number of attempts that have begun. */
  count = 0;

  constructor(
    private readonly retries: Retries,
    private readonly deadline: Deadline,
  ) {}

  /**
   * The timeout of the next attempt, which it counts.
   *
   * @throws DeadlineExceededError the deadline has passed; nothing is sent.
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
   * Sleeps before the next attempt.
   *
   * @throws AudienceError `error`, if the call is not to be retried, or not before the deadline.
   */
  async pause(error: AudienceError): Promise<void> {
    const wait = waitMs(this.retries, error, this.count - 1);
    if (wait === undefined || wait >= this.deadline.leftMs) throw error;
    await this.deadline.sleep(wait);
    if (this.deadline.leftMs <= 0) throw error;
  }
}
