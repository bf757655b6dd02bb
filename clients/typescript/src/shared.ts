import { Closing, Deadline, overdue } from "./deadline.js";
import { AudienceError, DeadlineExceededError } from "./errors.js";
import { type Retries, waitMs } from "./retrying.js";
import { DEADLINE_MS } from "./rules.js";

/** What callers wait for. */
interface Getting<Value> {
  readonly result: Promise<Value>;
  readonly deadline: Deadline;
  /** What `why` was when it began. */
  readonly before: AudienceError | undefined;
}

/**
 * A value that is obtained once for all callers that wait for it. Callers that give up do not end that: what takes
 * longer than any of them waits would never be had.
 */
export class Shared<Value> {
  #getting: Getting<Value> | undefined;

  /**
   * `get` obtains the value, after which it is known; `why` is the error of the last of its attempts after which
   * another one was to come.
   */
  constructor(
    private readonly get: (deadline: Deadline) => Promise<Value>,
    private readonly retries: Retries,
    private readonly closing: Closing,
    private readonly why: () => AudienceError | undefined,
  ) {}

  /**
   * The value that is `known`, else the one that is obtained. Callers wait for that only until their own deadlines.
   *
   * @throws AudienceError it could not be obtained, or its last attempt in this time failed; else
   * DeadlineExceededError.
   */
  async value(known: () => Value | undefined, deadline: Deadline): Promise<Value> {
    for (let failures = 0; ; failures += 1) {
      const value = known();
      if (value !== undefined) return value;
      const getting = (this.#getting ??= this.#begin(deadline));
      try {
        return await deadline.bound(getting.result, () => this.#late(getting));
      } catch (failure) {
        const wait = failure instanceof AudienceError ? waitMs(this.retries, failure, failures) : undefined;
        // Who has no more time than was spent on it would get this failure as well.
        const most = deadline.leftMs;
        if (wait === undefined || wait >= most || most <= getting.deadline.leftMs) throw failure;
        await deadline.sleep(wait);
      }
    }
  }

  #late({ before }: Getting<Value>): AudienceError {
    const why = this.why();
    return why === undefined || why === before ? overdue() : why;
  }

  #begin(callers: Deadline): Getting<Value> {
    callers.check();
    if (callers.leftMs <= 0) throw new DeadlineExceededError("the caller's time was over before it could be sent");
    const deadline = new Deadline(DEADLINE_MS, undefined, this.closing);
    const before = this.why();
    const result = this.get(deadline).finally(() => {
      this.#getting = undefined;
    });
    return { result, deadline, before };
  }
}
