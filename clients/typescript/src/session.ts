import { Closing, Deadline } from "./deadline.js";
import { AudienceError, RateLimitedError } from "./errors.js";
import type { AuthenticateResult } from "./gen/instantaudience/v1/authentication_pb.js";
import { DEFAULT_RETRIES } from "./retrying.js";
import { RENEWAL_PAUSE_SECONDS, RENEWAL_PERCENT, RENEWAL_SECONDS, TOKEN_CHARACTERS } from "./rules.js";
import { Shared } from "./shared.js";

/** A token, and its maximum lifetime. */
export interface Issued {
  readonly token: string;
  readonly lifetimeMs: number;
}

/** The characters that a header can hold. */
const TOKEN = /^[ -~]*$/;

/** Whether the token can be sent in a header. */
export function canBeSent(token: string): boolean {
  return token.length <= TOKEN_CHARACTERS && TOKEN.test(token);
}

/**
 * The token in an answer; undefined if there is none, or one that cannot be sent. Without a lifetime in the answer, it
 * is infinite.
 */
export function issuedBy(result: AuthenticateResult | undefined): Issued | undefined {
  if (result === undefined || result.token === "" || !canBeSent(result.token)) return undefined;
  const { token, lifetime } = result;
  return { token, lifetimeMs: lifetime === undefined ? Infinity : Math.max(0, Number(lifetime.seconds) * 1000) };
}

/** The token of a client: obtained once for all calls, and renewed before it ends. */
export class Session {
  #token: string | undefined;
  /** When it is to be renewed. */
  #endsMs = Infinity;
  /** When it ends. */
  #diesMs = 0;
  readonly #signingIn: Shared<string> | undefined;

  /**
   * Without `signIn`, the given token is used until the service rejects it. `why` is the error of the last attempt to
   * sign in after which another one was to come.
   */
  constructor(
    signIn: ((deadline: Deadline) => Promise<Issued>) | undefined,
    token: string | undefined,
    private readonly closing = new Closing(),
    retries = DEFAULT_RETRIES,
    why: () => AudienceError | undefined = () => undefined,
  ) {
    this.#token = token;
    this.#signingIn = signIn && new Shared((deadline) => this.#obtain(signIn, deadline), retries, closing, why);
  }

  /**
   * The token for a call; undefined if none is needed.
   *
   * @throws AudienceError signing in failed, or the client is closed.
   */
  async token(deadline: Deadline): Promise<string | undefined> {
    const signingIn = this.#signingIn;
    this.closing.check();
    if (signingIn === undefined) return this.#token;
    const standing = (): string | undefined => (performance.now() < this.#endsMs ? this.#token : undefined);
    const token = standing();
    if (token !== undefined) return token;
    const began = performance.now();
    const old = this.#living(began);
    if (old === undefined) return signingIn.value(standing, deadline);
    // It is good as long as it lives: nobody else waits for another one, and this call does not for long.
    this.#endsMs = Math.min(this.#diesMs, began + RENEWAL_PAUSE_SECONDS * 1000);
    const briefMs = Math.min(RENEWAL_SECONDS * 1000, deadline.leftMs / 2);
    const brief = new Deadline(briefMs, deadline.signal, deadline.closing);
    try {
      return await signingIn.value(() => (this.#token === old ? undefined : this.#token), brief);
    } catch (failure) {
      this.closing.check();
      const isForNow = failure instanceof AudienceError && failure.isWorthAnotherTry;
      if (!isForNow) throw failure;
      const now = performance.now();
      // Where it has ended meanwhile, or was refused, there is none but another one now.
      if (this.#living(now) !== old) return signingIn.value(standing, deadline);
      if (failure instanceof RateLimitedError) this.#endsMs = Math.min(this.#diesMs, now + (failure.retryAfterMs ?? 0));
      return old;
    }
  }

  /** Notes that the service rejected this token; returns whether a new one can be obtained. */
  refused(token: string | undefined): boolean {
    if (this.#signingIn === undefined) return false;
    if (this.#token === token) this.#token = undefined;
    return true;
  }

  /** The current token, if it has not ended. */
  #living(now: number): string | undefined {
    return now < this.#diesMs ? this.#token : undefined;
  }

  /** Obtains a new token, and returns it even if it has already ended by this machine's clock. */
  async #obtain(signIn: (deadline: Deadline) => Promise<Issued>, deadline: Deadline): Promise<string> {
    const issued = await signIn(deadline);
    const now = performance.now();
    this.#token = issued.token;
    // Before it ends, so that no call finds it ended.
    this.#endsMs = now + (issued.lifetimeMs * RENEWAL_PERCENT) / 100;
    this.#diesMs = now + issued.lifetimeMs;
    return issued.token;
  }
}
