import type { DescMessage, DescMethodUnary, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import type { Interceptor, Transport } from "@connectrpc/connect";
import { Calling, type OnAttempt } from "./calling.js";
import { type Credentials, type KeyPair, type Password, assertion } from "./credentials.js";
import { Closing, Deadline } from "./deadline.js";
import { InvalidRequestError } from "./errors.js";
import {
  AudienceService,
  type ApplySegmentsResult,
  type UserMemberships,
} from "./gen/instantaudience/v1/audience_pb.js";
import {
  type AuthenticateResponse,
  type AuthenticateWithJwtResponse,
  AuthenticationService,
} from "./gen/instantaudience/v1/authentication_pb.js";
import { CatalogService } from "./gen/instantaudience/v1/catalog_pb.js";
import { Pacer } from "./pacing.js";
import { checkRetries, DEFAULT_RETRIES, type Retries } from "./retrying.js";
import { DEADLINE_MS, STREAM_WINDOW, TOKEN_CHARACTERS } from "./rules.js";
import { type Issued, Session, canBeSent, issuedBy } from "./session.js";
import { Shared } from "./shared.js";
import {
  DEFAULT_LIMITS,
  type Limits,
  checkLimits,
  joined,
  ofCalls,
  ofReads,
  split,
  unreadable,
  usersPerRead,
} from "./splitting.js";
import { Streaming } from "./streaming.js";
import { type User, checkText, textOf } from "./users.js";
import type { StreamResult } from "./window.js";

/** The options of a client, in Node.js and in browsers. */
export interface ClientOptions {
  /** `host:port`, with brackets around an IPv6 address, secured by TLS unless `plaintext` is set. */
  readonly endpoint: string;
  /** Who signs in; absent if the connection's client certificate identifies the account. */
  readonly credentials?: Credentials;
  readonly plaintext?: boolean;
  /**
   * The member's limits; by default, they are requested from the service once. Missing fields have the service's
   * defaults.
   */
  readonly limits?: Partial<Limits>;
  readonly retries?: Partial<Retries>;
  /** The maximum number of a stream's requests in flight; 32 by default. */
  readonly window?: number;
  /** Called after every attempt of a call, for metrics. */
  readonly onAttempt?: OnAttempt;
  /** Connect interceptors, for traces for example. */
  readonly interceptors?: Interceptor[];
}

/** Limits on a call, including all its attempts. */
export interface CallOptions {
  /** The deadline, in milliseconds from the start of the call; 30,000 by default. */
  readonly deadlineMs?: number;
  /** Cancels the call, which then throws the signal's reason. */
  readonly signal?: AbortSignal;
}

/** A connection to the service. */
export interface Connection {
  readonly transport: Transport;
  /** Whether streams can be sent; browsers cannot. */
  readonly canStream: boolean;
  /** Closes the connection; absent if that is not necessary. */
  readonly close?: () => void;
}

/**
 * Puts users into segments, and reads memberships.
 *
 * The client signs in with the first call and renews the token before it ends; retries what is safe and useful to
 * retry, within the caller's deadline; keeps to the member's quota; and splits requests that are too large. All calls
 * of a client share one connection and one token, so make one client and keep it.
 */
export class Client {
  readonly #connection: Connection;
  readonly #session: Session;
  /** Once closed, nothing is sent any more. */
  readonly #closing = new Closing();
  readonly #calling: Calling;
  readonly #public: Calling;
  readonly #pacer = new Pacer();
  readonly #reading = new Pacer();
  readonly #streaming: Streaming;
  readonly #asking: Shared<Limits>;
  #limits: Limits | undefined;

  constructor(connection: Connection, options: ClientOptions) {
    const { credentials, limits, onAttempt, window = STREAM_WINDOW } = options;
    if (!(window >= 1)) throw new TypeError("a stream's window is 1 at least");
    const retries = orDefaults(DEFAULT_RETRIES, options.retries);
    checkRetries(retries);
    const token = credentials !== undefined && "token" in credentials ? checked(credentials.token) : undefined;
    this.#connection = connection;
    this.#limits = limits === undefined ? undefined : orDefaults(DEFAULT_LIMITS, limits);
    if (this.#limits !== undefined) checkLimits(this.#limits);
    const publicSession = new Session(undefined, undefined, this.#closing); // Of calls that get a token.
    this.#public = new Calling(connection.transport, publicSession, retries, onAttempt);
    this.#session = new Session(
      credentials === undefined || "token" in credentials
        ? undefined
        : (deadline) => this.#signIn(credentials, deadline),
      token,
      this.#closing,
      retries,
      () => this.#public.failure,
    );
    this.#asking = new Shared(
      async (deadline) => (this.#limits = await this.#askLimits(deadline)),
      retries,
      this.#closing,
      () => this.#calling.failure ?? this.#public.failure,
    );
    this.#calling = new Calling(connection.transport, this.#session, retries, onAttempt);
    this.#streaming = new Streaming({
      transport: connection.transport,
      calling: this.#calling,
      session: this.#session,
      pacer: this.#pacer,
      closing: this.#closing,
      retries,
      window,
    });
  }

  /** Closes the connection; current and later calls fail. */
  close(): void {
    this.#closing.close();
    this.#connection.close?.();
  }

  /**
   * Puts users into segments and takes them out; resolves once everything is written.
   *
   * Users that do not fit into one request are sent in several, one after the other, and the results are combined. An
   * invalid user or block is skipped with a warning. If a request fails, earlier ones may have been applied; it is safe
   * to call again with the same users.
   *
   * @throws AudienceError the call failed; see its subclasses.
   */
  async apply(
    users: Iterable<User>,
    { validateOnly = false, ...options }: CallOptions & { readonly validateOnly?: boolean } = {},
  ): Promise<ApplySegmentsResult> {
    const deadline = this.#deadline(options);
    const limits = await this.#knownLimits(deadline);
    const parts = split(users, ofCalls(limits));
    const results: ApplySegmentsResult[] = [];
    for (const part of parts) {
      const refused = unreadable(part);
      if (refused !== undefined) throw refused;
      await this.#pacer.wait(part.users.length, limits, deadline);
      const request = { rtSegment: part.users, validateOnly };
      const { applySegments } = AudienceService.method;
      results.push(await this.#calling.call(applySegments, request, deadline, ({ response }) => response));
    }
    return joined(parts, results);
  }

  /**
   * Puts any number of users into segments; yields a result for each request, in order.
   *
   * Users are read only as fast as they can be sent, so memory stays bounded. A failed request is retried, if that is
   * useful, keeping the order of each user's changes, until `deadlineMs` have passed without progress. Time spent
   * waiting for users, or (in Node.js) in which the process is stopped, does not count. In browsers, one request is in
   * flight at a time.
   *
   * @throws AudienceError there was no progress for too long, or signing in failed.
   */
  async *stream(
    users: Iterable<User> | AsyncIterable<User>,
    options: CallOptions = {},
  ): AsyncGenerator<StreamResult, void, undefined> {
    const { deadlineMs = DEADLINE_MS, signal } = options;
    const limits = await this.#knownLimits(this.#deadline(options));
    yield* this.#connection.canStream
      ? this.#streaming.apply(users, limits, deadlineMs, signal)
      : this.#streaming.applyOneByOne(users, ofCalls(limits), deadlineMs, signal);
  }

  /**
   * The current memberships of any number of users, in the order of `userIds`. Users that do not fit into one request
   * are read in several, one after the other.
   *
   * @throws AudienceError the call failed; InvalidRequestError for an ID that is not valid in its domain.
   * @throws TypeError `userIds` is no array, which callers without types may pass: a single ID, for example.
   */
  async memberships(
    userIds: readonly string[],
    { domain = "", ...options }: CallOptions & { readonly domain?: string } = {},
  ): Promise<UserMemberships[]> {
    if (!Array.isArray(userIds)) throw new TypeError("userIds is an array of IDs; for one user, an array with one");
    const deadline = this.#deadline(options);
    // One user is read at once, without a question for the limits.
    const limits = userIds.length > 1 ? await this.#knownLimits(deadline) : undefined;
    const size = limits === undefined ? 1 : usersPerRead(limits);
    const users: UserMemberships[] = [];
    for (let first = 0; first < userIds.length; first += size) {
      const asked = userIds.slice(first, first + size).map((userId) => ({ userId: textOf(userId), domain }));
      if (limits !== undefined) await this.#reading.wait(asked.length, ofReads(limits), deadline);
      const request = { users: asked };
      checkText(request);
      const { batchGetMemberships } = AudienceService.method;
      const read = await this.#calling.call(batchGetMemberships, request, deadline, ({ response }) =>
        response?.rtSegment.length === asked.length ? response : undefined,
      );
      users.push(...read.rtSegment);
    }
    return users;
  }

  /**
   * Calls any unary method of the service: `call(CatalogService.method.getSegment, { id: 10001 })`. Idempotent methods
   * are retried like other calls, others only if they were refused.
   *
   * @throws AudienceError the call failed.
   */
  async call<Input extends DescMessage, Output extends DescMessage>(
    method: DescMethodUnary<Input, Output>,
    request: MessageInitShape<Input>,
    options: CallOptions = {},
  ): Promise<MessageShape<Output>> {
    checkText(request);
    return this.#calling.call(method, request, this.#deadline(options), (answer) => answer);
  }

  /**
   * The member's limits: as given to the client, or as requested from the service, once.
   *
   * @throws AudienceError the call failed.
   */
  async limits(options: CallOptions = {}): Promise<Limits> {
    return this.#knownLimits(this.#deadline(options));
  }

  #deadline({ deadlineMs = DEADLINE_MS, signal }: CallOptions): Deadline {
    const deadline = new Deadline(deadlineMs, signal, this.#closing);
    deadline.check();
    return deadline;
  }

  async #knownLimits(deadline: Deadline): Promise<Limits> {
    return this.#asking.value(() => this.#limits, deadline);
  }

  async #askLimits(deadline: Deadline): Promise<Limits> {
    const token = await this.#session.token(deadline);
    if (token === undefined) return DEFAULT_LIMITS;
    // hbapi:<user id>:<random hex>:<location>
    const id = Number(token.split(":")[1]);
    const isInt32 = id === (id | 0);
    if (!isInt32) throw new InvalidRequestError("the token is none of this service's");
    const { getUser, getMember } = CatalogService.method;
    const { memberId } = await this.#calling.call(getUser, { id }, deadline, ({ user }) => user);
    const { limits } = await this.#calling.call(getMember, { id: memberId }, deadline, ({ member }) => member);
    return orDefaults(DEFAULT_LIMITS, limits);
  }

  async #signIn(credentials: Password | KeyPair, deadline: Deadline): Promise<Issued> {
    const { authenticate, authenticateWithJwt } = AuthenticationService.method;
    const isSafe = true; // A token too many does no harm.
    const read = ({ response }: AuthenticateResponse | AuthenticateWithJwtResponse): Issued | undefined =>
      issuedBy(response);
    if ("password" in credentials) {
      return this.#public.call(authenticate, { auth: { ...credentials } }, deadline, read, isSafe);
    }
    const requested = async (): Promise<{ jwt: string }> => ({ jwt: await assertion(credentials, Date.now()) });
    return this.#public.callAnew(authenticateWithJwt, requested, deadline, read, isSafe);
  }
}

/**
 * The token.
 *
 * @throws TypeError it cannot be sent in a header, or is empty or undefined, which callers without types may pass.
 */
function checked(token: string): string {
  if (!token) throw new TypeError("the token is empty; is it of a variable that is not set?");
  if (canBeSent(token)) return token;
  throw new TypeError(
    `the token has characters that no token has, or more than ${TOKEN_CHARACTERS}; is it a line of a file, with its end?`,
  );
}

/** The given settings, with defaults for those that are missing or undefined. */
function orDefaults<Settings extends object>(
  defaults: Settings,
  given: { readonly [Name in keyof Settings]?: Settings[Name] | undefined } = {},
): Settings {
  const names = Object.keys(defaults) as (keyof Settings)[];
  return Object.fromEntries(names.map((name) => [name, given[name] ?? defaults[name]])) as Settings;
}
