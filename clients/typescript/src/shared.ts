import type { Deadline } from "./deadline.js";
import { AudienceError } from "./errors.js";

/** A value that one caller obtains for all that wait for it. */
export class Shared<Value> {
  #getting: { readonly result: Promise<Value>; readonly deadline: Deadline } | undefined;

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
        const result = get().finally(() => {
          this.#getting = undefined;
        });
        this.#getting = { result, deadline };
        return result;
      }
      const { result, deadline: other } = this.#getting;
      await deadline.bound(result.catch((failure: unknown) => othersOnly(failure, other)));
    }
  }
}

/**
 * Only errors that the other callers would get as well are shared: they may have more time than the one with `deadline`,
 * or not be cancelled, for whatever reason.
 */
function othersOnly(failure: unknown, { signal }: Deadline): void {
  if (failure instanceof AudienceError && !failure.isWorthAnotherTry && failure !== signal?.reason) throw failure;
}
