import type { Deadline } from "./deadline.js";
import { AudienceError } from "./errors.js";

/** A value that one caller obtains for all that wait for it. */
export class Shared<Value> {
  #getting: Promise<Value> | undefined;

  /**
   * The value that is `known`, else the one that `get` obtains. Callers wait for each other only until their own
   * deadlines.
   *
   * @throws AudienceError it could not be obtained, or not in time.
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

/** Only errors that the other callers would get as well are shared: they may have more time, or not be cancelled. */
function othersOnly(failure: unknown): void {
  if (failure instanceof AudienceError && !failure.isWorthAnotherTry) throw failure;
}
