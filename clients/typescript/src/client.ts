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
import { BATCH_USERS, DEADLINE_MS, STREAM_WINDOW, TOKEN_CHARACTERS } from "./rules.js";
import { type Issued, Session, canBeSent, issuedBy } from "./session.js";
import { Shared } from "./shared.js";
import { DEFAULT_LIMITS, type Limits, joined, split } from "./splitting.js";
import { Streaming } from "./streaming.js";
import { type User, textOf } from "./users.js";
import type { StreamResult } from "./window.js";

/** What a client is made of, in Node and in browsers. */
export interface ClientOptions {
  /** `host:port`, secured by TLS unless `plaintext` says otherwise. */
  readonly endpoint: string;
  /** Who calls; absent where that is the owner of the connection's client certificate. */
  readonly credentials?: Credentials;
  readonly plaintext?: boolean;
  /** The member's; by default they are asked for once. Those not named are the service's defaults. */
  readonly limits?: Partial<Limits>;
  readonly retries?: Partial<Retries>;
  /** How many requests of a stream may be under way at once; 32 by default. */
  readonly window?: number;
  /** Is told of every attempt of a call, for metrics. */
  readonly onAttempt?: OnAttempt;
  /** Those of Connect, for traces for example. */
  readonly interceptors?: Interceptor[];
}

/** What bounds a call: all its attempts together. */
export interface CallOptions {
  /** 30,000 by default. */
  readonly deadlineMs?: number;
  /** Gives the call up; it throws the signal's reason then. */
  readonly signal?: AbortSignal;
}

/** A way to the service. */
export interface Connection {
  readonly transport: Transport;
  /** Whether streams can be sent; browsers cannot. */
  readonly canStream: boolean;
  /** Ends it; absent where it ends by itself. */
  readonly close?: () => void;
}

/**
 * Puts users into segments, and reads back what stands.
 *
 * It signs in with the first call and when a token ends, sends again what is safe to send again and helps, within the
 * time that the caller gives, keeps to the member's quota, and splits what is too large. All calls of one client share a
 * connection and a token; make one and keep it.
 */
export class Client {
  readonly #connection: Connection;
  readonly #session: Session;
  /** Once it is closed, nothing is sent, or sent again. */
  readonly #closing = new Closing();
  readonly #calling: Calling;
  readonly #public: Calling;
  readonly #pacer = new Pacer();
  readonly #streaming: Streaming;
  readonly #asking = new Shared<Limits>();
  #limits: Limits | undefined;

  constructor(connection: Connection, options: ClientOptions) {
    const { credentials, limits, onAttempt, window = STREAM_WINDOW } = options;
    if (!(window >= 1)) throw new TypeError("a stream's window is 1 at least");
    const retries = orDefaults(DEFAULT_RETRIES, options.retries);
    checkRetries(retries);
    const token = credentials !== undefined && "token" in credentials ? credentials.token : undefined;
    if (token !== undefined && !canBeSent(token)) {
      throw new TypeError(
        `the token has characters that no token has, or more than ${TOKEN_CHARACTERS}; is it a line of a file, with its end?`,
      );
    }
    this.#connection = connection;
    this.#limits = limits === undefined ? undefined : orDefaults(DEFAULT_LIMITS, limits);
    const publicSession = new Session(undefined, undefined, this.#closing); // Of calls that get a token.
    this.#public = new Calling(connection.transport, publicSession, retries, onAttempt);
    this.#session = new Session(
      credentials === undefined || "token" in credentials
        ? undefined
        : (deadline) => this.#signIn(credentials, deadline),
      token,
      this.#closing,
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

  /** Closes the connection; calls under way fail, and so do those that come. */
  close(): void {
    this.#closing.close();
    this.#connection.close?.();
  }

  /**
   * Puts users into segments and takes them out; answered when all is written.
   *
   * What a request cannot hold goes in several, one after the other, and is answered as one. An invalid user or block is
   * skipped with a warning. Fails like a request that was split: what came before may be applied, and calling again with
   * the same users does no harm.
   *
   * @throws AudienceError the call failed; see its subclasses.
   */
  async apply(
    users: Iterable<User>,
    { validateOnly = false, ...options }: CallOptions & { readonly validateOnly?: boolean } = {},
  ): Promise<ApplySegmentsResult> {
    const deadline = this.#deadline(options);
    const limits = await this.#knownLimits(deadline);
    const parts = split(users, limits);
    const results: ApplySegmentsResult[] = [];
    for (const part of parts) {
      await this.#pacer.wait(part.users.length, limits, deadline);
      const request = { rtSegment: part.users, validateOnly };
      const { applySegments } = AudienceService.method;
      results.push(await this.#calling.call(applySegments, request, deadline, ({ response }) => response));
    }
    return joined(parts, results);
  }

  /**
   * Puts any number of users into segments; the answers come in order, as many users as went in a request each.
   *
   * Users are taken as they can be sent: memory is bounded, however many there are. A request that fails so that it helps
   * is sent again, each user's changes in order, until `deadlineMs` have passed without any progress; while users are
   * waited for, no time passes. In browsers, one request is under way at a time.
   *
   * @throws AudienceError there was no progress for so long, or signing in failed.
   */
  async *stream(
    users: Iterable<User> | AsyncIterable<User>,
    options: CallOptions = {},
  ): AsyncGenerator<StreamResult, void, undefined> {
    const { deadlineMs = DEADLINE_MS, signal } = options;
    const limits = await this.#knownLimits(this.#deadline(options));
    yield* this.#connection.canStream
      ? this.#streaming.apply(users, limits, deadlineMs, signal)
      : this.#streaming.applyOneByOne(users, limits, deadlineMs, signal);
  }

  /**
   * The live memberships of users, in the order asked for; any number of them.
   *
   * @throws AudienceError the call failed; InvalidRequestError for an ID that is none of its domain.
   */
  async memberships(
    userIds: readonly string[],
    { domain = "", ...options }: CallOptions & { readonly domain?: string } = {},
  ): Promise<UserMemberships[]> {
    const deadline = this.#deadline(options);
    const users: UserMemberships[] = [];
    for (let first = 0; first < userIds.length; first += BATCH_USERS) {
      const asked = userIds.slice(first, first + BATCH_USERS).map((userId) => ({ userId: textOf(userId), domain }));
      const request = { users: asked };
      const { batchGetMemberships } = AudienceService.method;
      const read = await this.#calling.call(batchGetMemberships, request, deadline, ({ response }) => response);
      users.push(...read.rtSegment);
    }
    return users;
  }

  /**
   * The answer of any unary method of the service: `call(CatalogService.method.getSegment, { id: 10001 })`. It is sent
   * again as the other calls are; where it would do harm to carry it out twice, only what was refused.
   *
   * @throws AudienceError the call failed.
   */
  async call<Input extends DescMessage, Output extends DescMessage>(
    method: DescMethodUnary<Input, Output>,
    request: MessageInitShape<Input>,
    options: CallOptions = {},
  ): Promise<MessageShape<Output>> {
    return this.#calling.call(method, request, this.#deadline(options), (answer) => answer);
  }

  /**
   * What the member may send: as given to the client, or as the service says, asked once.
   *
   * @throws AudienceError the call failed.
   */
  async limits(options: CallOptions = {}): Promise<Limits> {
    return this.#knownLimits(this.#deadline(options));
  }

  #deadline({ deadlineMs = DEADLINE_MS, signal }: CallOptions): Deadline {
    return new Deadline(deadlineMs, signal, this.#closing);
  }

  async #knownLimits(deadline: Deadline): Promise<Limits> {
    return this.#asking.value(
      () => this.#limits,
      async () => (this.#limits = await this.#askLimits(deadline)),
      deadline,
    );
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
    const jwt = await assertion(credentials, Date.now());
    return this.#public.call(authenticateWithJwt, { jwt }, deadline, read, isSafe);
  }
}

/** What is given, and the defaults of what is not, or is undefined. */
function orDefaults<Settings extends object>(
  defaults: Settings,
  given: { readonly [Name in keyof Settings]?: Settings[Name] | undefined } = {},
): Settings {
  const names = Object.keys(defaults) as (keyof Settings)[];
  return Object.fromEntries(names.map((name) => [name, given[name] ?? defaults[name]])) as Settings;
}
