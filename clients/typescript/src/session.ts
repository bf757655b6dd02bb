import type { Deadline } from "./deadline.js";
import { DeadlineExceededError } from "./errors.js";
import { RENEWAL_PERCENT } from "./rules.js";

/** A token, and for how long it lives at most. */
export interface Issued {
  readonly token: string;
  readonly lifetimeMs: number;
}

/** The token of a client: got once for all calls, and again when it ends. */
export class Session {
  #token: string | undefined;
  #endsMs = Infinity;
  #signingIn: Promise<void> | undefined;

  /** Without `signIn`, the token is used as long as the service takes it. */
  constructor(
    private readonly signIn: ((deadline: Deadline) => Promise<Issued>) | undefined,
    token: string | undefined,
  ) {
    this.#token = token;
  }

  /**
   * The token to call with; undefined where none is needed.
   *
   * @throws AudienceError signing in failed.
   */
  async token(deadline: Deadline): Promise<string | undefined> {
    const signIn = this.signIn;
    while (signIn !== undefined && (this.#token === undefined || performance.now() >= this.#endsMs)) {
      if (this.#signingIn === undefined) {
        this.#signingIn = this.#renew(signIn, deadline).finally(() => {
          this.#signingIn = undefined;
        });
        await this.#signingIn;
      } else {
        await deadline.bound(this.#signingIn.catch(othersOnly));
      }
    }
    return this.#token;
  }

  /** The service did not take this token; whether another one can be had. */
  refused(token: string | undefined): boolean {
    if (this.signIn === undefined) return false;
    if (this.#token === token) this.#token = undefined;
    return true;
  }

  async #renew(signIn: (deadline: Deadline) => Promise<Issued>, deadline: Deadline): Promise<void> {
    const issued = await signIn(deadline);
    this.#token = issued.token;
    // Before it ends, so that no call finds it ended.
    this.#endsMs = performance.now() + (issued.lifetimeMs * RENEWAL_PERCENT) / 100;
  }
}

/** Whose sign-in ended because its caller's time did, or its caller gave up, says nothing about another's. */
function othersOnly(failure: unknown): void {
  if (failure instanceof DeadlineExceededError) return;
  if (failure instanceof DOMException && failure.name === "AbortError") return;
  throw failure;
}
