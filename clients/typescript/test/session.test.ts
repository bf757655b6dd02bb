/** A token is got once for all calls, and again when it ends. */
import { create } from "@bufbuild/protobuf";
import { Code, ConnectError, createRouterTransport } from "@connectrpc/connect";
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Attempt } from "../src/calling.js";
import { Client } from "../src/client.js";
import { Closing, Deadline } from "../src/deadline.js";
import {
  DeadlineExceededError,
  InternalError,
  RateLimitedError,
  UnauthenticatedError,
  UnavailableError,
} from "../src/errors.js";
import { AuthenticateResultSchema, AuthenticationService } from "../src/gen/instantaudience/v1/authentication_pb.js";
import { CatalogService } from "../src/gen/instantaudience/v1/catalog_pb.js";
import { DEFAULT_RETRIES } from "../src/retrying.js";
import { Session, issuedBy, type Issued } from "../src/session.js";

/** Lets everything go on that can. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const patient = (): Deadline => new Deadline(60_000);

/** A session whose sign-ins end when they are told to, and how many there were. */
function session(closing?: Closing): { session: Session; signIns: SignIn[] } {
  const signIns: SignIn[] = [];
  const signIn = (): Promise<Issued> =>
    new Promise((resolve, reject) => {
      signIns.push({ resolve, reject });
    });
  return { session: new Session(signIn, undefined, closing), signIns };
}

interface SignIn {
  resolve(issued: Issued): void;
  reject(error: unknown): void;
}

test("calls that come together share a token", async () => {
  const { session: shared, signIns } = session();
  const calls = [1, 2, 3].map(() => shared.token(patient()));
  signIns[0]?.resolve({ token: "a", lifetimeMs: 60_000 });
  assert.deepEqual(await Promise.all(calls), ["a", "a", "a"]);
  assert.equal(await shared.token(patient()), "a");
  assert.equal(signIns.length, 1);
});

test("a token that has ended, or was refused, is replaced", async () => {
  const { session: shared, signIns } = session();
  const first = shared.token(patient());
  // By this machine's clock, it has ended when it comes.
  signIns[0]?.resolve({ token: "a", lifetimeMs: 0 });
  assert.equal(await first, "a");
  const second = shared.token(patient());
  signIns[1]?.resolve({ token: "b", lifetimeMs: 60_000 });
  assert.equal(await second, "b");
  assert.ok(shared.refused("b"));
  const next = shared.token(patient());
  signIns[2]?.resolve({ token: "c", lifetimeMs: 60_000 });
  assert.equal(await next, "c");
  assert.ok(shared.refused("b"));
  assert.equal(await shared.token(patient()), "c");
});

test("a token may end at any time", () => {
  // By a clock that is a day ahead, it has ended.
  const answer = { token: "a", expireTime: { seconds: 1n } };
  for (const [seconds, lifetimeMs] of [
    [90n, 90_000],
    [0n, 0],
    [-(2n ** 63n), 0],
    [2n ** 63n - 1n, 2 ** 63 * 1000],
  ] as const) {
    const lifetime = { seconds, nanos: -1 };
    assert.equal(issuedBy(create(AuthenticateResultSchema, { ...answer, lifetime }))?.lifetimeMs, lifetimeMs);
  }
  assert.equal(issuedBy(create(AuthenticateResultSchema, answer))?.lifetimeMs, Infinity);
});

test("a sign-in without a token that can be sent is a defect", async () => {
  for (const token of ["", "a\n", "é", "x".repeat(4097)]) {
    const answers = createRouterTransport(({ rpc }) => {
      rpc(AuthenticationService.method.authenticate, () => ({ response: { token } }));
    });
    const told: Attempt[] = [];
    const client = new Client(
      { transport: answers, canStream: false },
      { endpoint: "", credentials: { username: "x", password: "y" }, onAttempt: (attempt) => told.push(attempt) },
    );
    const failure = await client.limits().catch((thrown: unknown) => thrown);
    assert.ok(failure instanceof InternalError);
    assert.deepEqual(
      told.map(({ code, requestId }) => ({ code, requestId })),
      [{ code: Code.Internal, requestId: failure.requestId }],
    );
  }
});

test("each attempt of a sign-in has an assertion of its own", async (t) => {
  // The service takes none that is older than five minutes, and a call may take longer.
  let nowMs = 1_700_000_000_000;
  t.mock.method(Date, "now", () => nowMs);
  const issuedAt: unknown[] = [];
  const answers = createRouterTransport(({ rpc }) => {
    rpc(AuthenticationService.method.authenticateWithJwt, ({ jwt }) => {
      const { iat } = JSON.parse(Buffer.from(jwt.split(".")[1] ?? "", "base64url").toString()) as { iat: number };
      issuedAt.push(iat);
      if (issuedAt.length < 3) {
        nowMs += 301_000;
        throw new ConnectError("away", Code.Unavailable);
      }
      return { response: { token: "hbapi:1:0:0" } };
    });
    rpc(CatalogService.method.getUser, () => ({}));
  });
  const { privateKey } = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, false, ["sign"]);
  const client = new Client(
    { transport: answers, canStream: false },
    {
      endpoint: "",
      credentials: { username: "demo", keyName: "pods", privateKey },
      retries: { firstMs: 0, mostMs: 0 },
    },
  );
  await assert.rejects(client.limits(), InternalError); // It has signed in; the answer about the user says nothing.
  assert.deepEqual(issuedAt, [1_700_000_000, 1_700_000_301, 1_700_000_602]);
});

test("wrong credentials are told to all who wait, by one sign-in", async () => {
  const { session: shared, signIns } = session();
  const calls = Promise.allSettled([1, 2, 3].map(() => shared.token(patient())));
  signIns[0]?.reject(new UnauthenticatedError("wrong"));
  assert.deepEqual(
    (await calls).map((call) => call.status),
    ["rejected", "rejected", "rejected"],
  );
  assert.equal(signIns.length, 1);
});

test("only who has more time than what failed goes on", async () => {
  const signIns: SignIn[] = [];
  const begun: (() => void)[] = [];
  const signIn = (): Promise<Issued> =>
    new Promise((resolve, reject) => {
      signIns.push({ resolve, reject });
      begun.pop()?.();
    });
  const shared = new Session(signIn, undefined, new Closing(), { ...DEFAULT_RETRIES, firstMs: 0 });
  const hurried = shared.token(new Deadline(20_000));
  const other = shared.token(patient());
  const again = new Promise<void>((resolve) => begun.push(resolve));
  signIns[0]?.reject(new UnavailableError("away"));
  await assert.rejects(hurried, UnavailableError);
  await again;
  signIns[1]?.resolve({ token: "b", lifetimeMs: 60_000 });
  assert.equal(await other, "b");
  assert.equal(signIns.length, 2);
});

test("a sign-in goes on when the calls that wait for it have given up", async () => {
  const { session: shared, signIns } = session();
  const giving = new AbortController();
  // Of another call: a caller may give up all calls when one has failed.
  const reason = new InternalError("an answer that does not say what was asked for");
  const first = shared.token(new Deadline(60_000, giving.signal));
  const second = shared.token(patient());
  giving.abort(reason);
  await assert.rejects(first, reason);
  await assert.rejects(shared.token(new Deadline(20)), DeadlineExceededError);
  signIns[0]?.resolve({ token: "a", lifetimeMs: 60_000 });
  assert.equal(await second, "a");
  assert.equal(signIns.length, 1);
});

test("nothing begins for a call that has no time left", async () => {
  const { session: shared, signIns } = session();
  await assert.rejects(shared.token(new Deadline(0)), DeadlineExceededError);
  await assert.rejects(shared.token(new Deadline(60_000, AbortSignal.abort(new Error("never mind")))), /never mind/);
  assert.equal(signIns.length, 0);
});

/** A client whose sign-ins wait until they may go on, or are given up. */
function slow(): { client: Client; goOn: () => void; signIns: () => number; givenUp: Promise<void> } {
  let [goOn, giveUp, signIns] = [(): void => undefined, (): void => undefined, 0];
  const goes = new Promise<void>((resolve) => (goOn = resolve));
  const givenUp = new Promise<void>((resolve) => (giveUp = resolve));
  const answers = createRouterTransport(({ rpc }) => {
    rpc(AuthenticationService.method.authenticate, async (_, { signal }) => {
      signIns += 1;
      signal.addEventListener("abort", giveUp);
      await goes;
      return { response: { token: "hbapi:1:0:0" } };
    });
    rpc(CatalogService.method.getUser, () => ({ user: { memberId: 1 } }));
    rpc(CatalogService.method.getMember, () => ({ member: {} }));
  });
  const credentials = { username: "x", password: "y" };
  const client = new Client({ transport: answers, canStream: false }, { endpoint: "", credentials });
  return { client, goOn, signIns: () => signIns, givenUp };
}

test("calls with less time than a sign-in takes get through in the end", async () => {
  const { client, goOn, signIns } = slow();
  for (let call = 0; call < 3; call += 1) {
    await assert.rejects(client.limits({ deadlineMs: 20 }), DeadlineExceededError);
  }
  goOn();
  await client.limits({ deadlineMs: 20_000 });
  assert.equal(signIns(), 1);
  client.close();
});

test("a sign-in that nobody waits for ends with the client", async () => {
  const { client, givenUp } = slow();
  await assert.rejects(client.limits({ deadlineMs: 20 }), DeadlineExceededError);
  client.close();
  await givenUp;
});

test("whoever waits for another's sign-in waits no longer than its own time", async () => {
  const { session: shared, signIns } = session();
  const first = shared.token(patient());
  await assert.rejects(shared.token(new Deadline(20)), DeadlineExceededError);
  signIns[0]?.resolve({ token: "a", lifetimeMs: 60_000 });
  assert.equal(await first, "a");
});

test("a token of somebody else's is used as it is", async () => {
  const given = new Session(undefined, "mine");
  assert.equal(given.refused("mine"), false);
  assert.equal(await given.token(patient()), "mine");
});

test("a token is used as long as it lives where too many have signed in", async ({ mock }) => {
  const { session: shared, signIns } = session();
  const lifetimeMs = 3_600_000;
  let now = 0;
  mock.method(performance, "now", () => now);
  const first = shared.token(patient());
  signIns[0]?.resolve({ token: "a", lifetimeMs });
  await first;
  now = lifetimeMs * 0.92;
  const second = shared.token(patient());
  signIns[1]?.reject(new RateLimitedError("too many", { retryAfterMs: 60_000 }));
  assert.equal(await second, "a");
  assert.equal(await shared.token(patient()), "a");
  now = lifetimeMs;
  const third = shared.token(new Deadline(20_000));
  signIns[2]?.reject(new RateLimitedError("too many"));
  await assert.rejects(third, RateLimitedError);
});

test("a token is used as long as it lives while the service is away", async ({ mock }) => {
  const lifetimeMs = 3_600_000;
  let now = 0;
  mock.method(performance, "now", () => now);
  const waits: number[] = [];
  const shared: Session = new Session(async (deadline) => {
    waits.push(deadline.leftMs);
    if (waits.length === 1) return { token: "a", lifetimeMs };
    if (now < lifetimeMs) assert.equal(await shared.token(patient()), "a"); // No other call waits.
    throw new UnavailableError("away");
  }, undefined);
  for (const [part, ms] of [
    [0, 9000],
    [0.92, 9000],
    [0.93, 9000],
    [0.95, 500],
  ] as const) {
    now = lifetimeMs * part;
    assert.equal(await shared.token(new Deadline(ms)), "a");
  }
  assert.deepEqual(waits, [30_000, 30_000, 30_000]);
  now = lifetimeMs;
  await assert.rejects(shared.token(new Deadline(9000)), UnavailableError);
  assert.equal(waits.length, 4);
});

test("a client that is closed while it signs in uses no token", async ({ mock }) => {
  let now = 0;
  mock.method(performance, "now", () => now);
  const closing = new Closing();
  const { session: shared, signIns } = session(closing);
  const first = shared.token(patient());
  signIns[0]?.resolve({ token: "a", lifetimeMs: 3_600_000 });
  assert.equal(await first, "a");
  now = 3_500_000;
  const second = shared.token(patient());
  await turn();
  closing.close();
  signIns[1]?.reject(new UnavailableError("the client is closed"));
  await assert.rejects(second, UnavailableError);
});

for (const isRefused of [true, false]) {
  const end = isRefused ? "is refused" : "ends";
  test(`a call goes on that waits for another token while its own ${end}`, async ({ mock }) => {
    const lifetimeMs = 3_600_000;
    let now = 0;
    mock.method(performance, "now", () => now);
    const waits: number[] = [];
    const shared: Session = new Session(async (deadline) => {
      waits.push(deadline.leftMs);
      if (waits.length !== 2) return { token: `t${waits.length}`, lifetimeMs };
      if (isRefused) shared.refused("t1");
      else now = lifetimeMs;
      throw new DeadlineExceededError("over");
    }, undefined);
    await shared.token(new Deadline(9000));
    now = lifetimeMs - 500;
    assert.equal(await shared.token(new Deadline(9000)), "t3");
    assert.deepEqual(waits, [30_000, 30_000, 30_000]);
  });
}
