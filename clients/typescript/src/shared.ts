import type { Deadline } from "./deadline.js";
import { AudienceError } from "./errors.js";

/** What one caller gets for all who come meanwhile. */
export class Shared<Value> {
  #getting: Promise<Value> | undefined;

  /**
   * What is `known`, or else what `get` comes to; whoever waits for another's waits no longer than its own time.
   *
   * @throws AudienceError it could not be got, or not in time.
   */
  async value(known: () => Value | undefined, get: () => Promise<Value>, deadline: Deadline): Promise<Value> {
    for (;;) {
      const value = known();
      if (value !== undefined) return value;
      if (this.#getting === undefined) {
        this.#getting = get().finally(() => {
          this.#getting = undefined;
        });
        return this.#getting;
      }
      await deadline.bound(this.#getting.catch(othersOnly));
    }
  }
}

/** Another caller may have more time, or may not have given up: only what it would be told as well is told to it. */
function othersOnly(failure: unknown): void {
  if (failure instanceof AudienceError && !failure.isWorthAnotherTry) throw failure;
}
