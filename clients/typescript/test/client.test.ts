/** What the client does beside the cases of clients/conformance, on a live service and one that does wrong. */
import { Code } from "@connectrpc/connect";
import {
  type Attempt,
  type ClientOptions,
  UnauthenticatedError,
  UnavailableError,
  type User,
  createClient,
} from "instantaudience";
import { CatalogService } from "instantaudience/v1/catalog";
import { IdentityService } from "instantaudience/v1/identity";
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { createClient as createBrowserClient } from "../src/browser.js";
import { randomNumbers } from "./random.js";
import { control, skip, told } from "./surroundings.js";

const SEGMENT = 10001;
const UNLIMITED = { usersPerSecond: 10_000_000, postsPerSecond: 1_000_000 };

/** Options of a client that signs in by its key pair, through the proxy. */
function options(): ClientOptions & { plaintext: true } {
  const credentials = {
    username: told("USERNAME"),
    keyName: told("KEY_NAME"),
    privateKey: readFileSync(told("KEY_FILE"), "utf8"),
  };
  return { endpoint: told("FAULTS"), credentials, plaintext: true, retries: { firstMs: 10, mostMs: 50 } };
}

function user(userId: string, value: number): User {
  return { userId, segBlock: [{ segId: SEGMENT, value, expiration: 0 }] };
}

/** Waits until it is so; a test that waits in vain is ended. */
async function until(isSo: () => Promise<boolean>): Promise<void> {
  while (!(await isSo())) await sleep(20);
}

test("it signs in and asks for the limits once for all calls", { skip }, async () => {
  await control([]);
  const client = createClient(options());
  await Promise.all(Array.from({ length: 10 }, (_, i) => client.apply([user(`750000000000000000${i}`, i)])));
  client.close();
  const { seen } = await control();
  assert.equal(seen["AuthenticateWithJwt"], 1);
  assert.equal(seen["GetMember"], 1);
  assert.equal(seen["ApplySegments"], 10);
});

test("thirty thousand users with refusals and broken connections stand as their order says", { skip }, async () => {
  const number = randomNumbers(7);
  const limits = { ...UNLIMITED, usersPerCall: 200 };
  const busy = { fault: "status", code: "UNAVAILABLE", reason: "SYSTEM", retry_after_ms: 10 };
  const limited = { fault: "status", code: "RESOURCE_EXHAUSTED", reason: "RATE_LIMIT_EXCEEDED", retry_after_ms: 10 };
  const kinds = [busy, limited, { ...busy, applies: true, ends_stream: true }, { fault: "reset" }, { fault: "goaway" }];
  await control(Array.from({ length: 200 }, () => (number(1, 5) > 1 ? { fault: "pass" } : kinds[number(0, 4)]!)));
  const expected = new Map<string, number>();
  async function* users(): AsyncGenerator<User> {
    for (let value = 0; value < 30_000; value++) {
      const userId = `76000000000000${String(number(0, 2999)).padStart(5, "0")}`;
      expected.set(userId, value);
      yield user(userId, value);
    }
  }
  const client = createClient({ ...options(), limits });
  let next = 0;
  for await (const result of client.stream(users(), { deadlineMs: 60_000 })) {
    assert.equal(result.error, undefined);
    assert.equal(result.firstUser, next);
    next += result.users;
  }
  assert.equal(next, 30_000);
  await control([]);
  const ids = [...expected.keys()];
  const stands = await client.memberships(ids);
  client.close();
  assert.deepEqual(
    stands.map(({ userId, segBlock }) => [userId, segBlock.find(({ segId }) => segId === SEGMENT)?.value]),
    [...expected],
  );
});

test("users are not taken before they can be sent", { skip }, async () => {
  let taken = 0;
  let isClosed = false;
  function* users(): Generator<User> {
    try {
      for (;;) yield user(String(7_700_000_000 + (taken++ % 100)), 1);
    } finally {
      isClosed = true;
    }
  }
  await control([]);
  const client = createClient({ ...options(), limits: { ...UNLIMITED, usersPerCall: 10 }, window: 4 });
  for await (const { users: count } of client.stream(users())) {
    assert.equal(count, 10);
    await sleep(300);
    break;
  }
  client.close();
  assert.ok(taken <= 70, `${taken} were taken`);
  assert.ok(isClosed);
});

test("a stream that waits for users sends again meanwhile", { skip }, async () => {
  await control([{ fault: "status", code: "UNAVAILABLE", reason: "SYSTEM", retry_after_ms: 10 }]);
  const client = createClient({ ...options(), limits: { ...UNLIMITED, usersPerCall: 1 } });
  let more = (): void => undefined;
  const asked = new Promise<void>((resolve) => {
    more = resolve;
  });
  async function* users(): AsyncGenerator<User> {
    yield user("7800000000000000001", 1);
    yield user("7800000000000000002", 2);
    await asked;
  }
  const results = client.stream(users());
  assert.equal((await results.next()).value?.firstUser, 0);
  more();
  assert.equal((await results.next()).value?.firstUser, 1);
  assert.equal((await results.next()).done, true);
  client.close();
});

test("a caller who is slow with an answer has the stream wait, not begin again", { skip }, async () => {
  await control([]);
  const client = createClient({
    ...options(),
    limits: { ...UNLIMITED, usersPerCall: 1 },
    retries: { attemptMs: 2000 },
  });
  const users = ["1", "2", "3"].map((number) => user(`780000000000000020${number}`, 1));
  for await (const { firstUser, error } of client.stream(users)) {
    assert.equal(error, undefined);
    if (firstUser === 0) await sleep(2500);
  }
  client.close();
  assert.equal((await control()).seen["StreamSegments"], 3);
});

test("a client that is closed sends nothing any more", { skip }, async () => {
  await control([{ fault: "hang" }]);
  const client = createClient({ ...options(), limits: {} });
  const underWay = client.apply([user("7800000000000000301", 1)]);
  await until(async () => (await control()).seen["ApplySegments"] === 1);
  client.close();
  await assert.rejects(underWay, UnavailableError);
  await assert.rejects(client.memberships(["1"]), /the client is closed/);
  await assert.rejects(client.stream([user("7800000000000000301", 1)]).next(), /the client is closed/);
  assert.equal((await control()).seen["ApplySegments"], 1);
});

test("what the caller's users throw ends the stream, after the answers", { skip }, async () => {
  const client = createClient({ ...options(), endpoint: told("GRPC") });
  function* users(): Generator<User> {
    yield* Array.from({ length: 1500 }, (_, i) => user(String(7_800_010_000 + i), i));
    throw new RangeError("no more of them");
  }
  const results: number[] = [];
  await assert.rejects(async () => {
    for await (const { users: count } of client.stream(users())) results.push(count);
  }, RangeError);
  client.close();
  assert.deepEqual(results, [1000]);
});

test("a caller who gives up is told so, and nothing more is sent", { skip }, async () => {
  await control([{ fault: "hang" }, { fault: "hang" }]);
  const client = createClient(options());
  const gone = new Error("never mind");
  const within = (ms: number): AbortSignal => {
    const controller = new AbortController();
    setTimeout(() => controller.abort(gone), ms);
    return controller.signal;
  };
  await client.limits();
  await assert.rejects(client.apply([user("7800000000000000003", 1)], { signal: within(300) }), gone);
  await assert.rejects(client.stream([user("7800000000000000003", 1)], { signal: within(300) }).next(), gone);
  await assert.rejects(client.apply([user("7800000000000000003", 1)], { signal: AbortSignal.abort(gone) }), gone);
  client.close();
  const { seen } = await control();
  assert.deepEqual([seen["ApplySegments"], seen["StreamSegments"]], [1, 1]);
});

test("attempts are told", { skip }, async () => {
  await control([{ fault: "status", code: "UNAVAILABLE", reason: "SYSTEM" }]);
  const attempts: Attempt[] = [];
  const client = createClient({ ...options(), onAttempt: (attempt) => attempts.push(attempt) });
  await client.apply([user("7800000000000000004", 1)]);
  client.close();
  const applied = attempts.filter(({ method }) => method === "/instantaudience.v1.AudienceService/ApplySegments");
  assert.deepEqual(
    applied.map(({ number, code, reason }) => [number, code, reason]),
    [
      [1, Code.Unavailable, "SYSTEM"],
      [2, undefined, ""],
    ],
  );
  assert.equal(new Set(applied.map(({ requestId }) => requestId)).size, 1);
});

test("what a hook throws is thrown, and nothing is sent again", { skip }, async () => {
  await control([]);
  const gone = new Error("no disk");
  let calls = 0;
  const client = createClient({
    ...options(),
    credentials: { token: told("TOKEN") },
    limits: {},
    onAttempt: () => {
      if (++calls === 1) throw gone;
    },
  });
  await assert.rejects(client.apply([user("7800000000000000005", 1)]), gone);
  client.close();
  assert.equal(calls, 1);
  assert.equal((await control()).seen["ApplySegments"], 1);
});

test("any method can be called, and is made again only where that is safe", { skip }, async () => {
  const client = createClient({ ...options(), endpoint: told("GRPC") });
  const { segment } = await client.call(CatalogService.method.getSegment, { id: SEGMENT });
  assert.equal(segment?.code, "sports_fans");
  client.close();
  const attempts: Attempt[] = [];
  const lost = createClient({
    ...options(),
    endpoint: "127.0.0.1:1",
    credentials: { token: "hbapi:1:0:0" },
    onAttempt: (attempt) => attempts.push(attempt),
  });
  await assert.rejects(lost.call(CatalogService.method.createSegment, { segment: {} }, { deadlineMs: 500 }));
  assert.equal(attempts.length, 1);
  await assert.rejects(lost.call(CatalogService.method.getSegment, { id: SEGMENT }, { deadlineMs: 500 }));
  assert.ok(attempts.length > 2);
  lost.close();
});

test("a connection is secured, and shows the client's certificate", { skip }, async () => {
  const { endpoint, credentials } = { endpoint: told("TLS"), credentials: { token: told("TOKEN") } };
  const [roots, certificateChain, privateKey] = ["TLS_ROOTS", "TLS_CERT", "TLS_KEY"].map((name) =>
    readFileSync(told(name), "utf8"),
  ) as [string, string, string];
  const client = createClient({ endpoint, credentials, tls: { roots, certificateChain, privateKey } });
  const [memberships] = await client.memberships(["7800000000000000009"]);
  assert.equal(memberships?.userId, "7800000000000000009");
  client.close();
  for (const tls of [{ certificateChain, privateKey }, { roots }]) {
    const refused = createClient({ endpoint, credentials, tls });
    await assert.rejects(refused.memberships(["1"], { deadlineMs: 500 }), UnavailableError);
    refused.close();
  }
});

test("a key that cannot be read is told", { skip }, async () => {
  const credentials = { username: "demo", keyName: "x", privateKey: "-----BEGIN EC PRIVATE KEY-----" };
  const client = createClient({ ...options(), credentials });
  await assert.rejects(client.limits(), /PKCS #8/);
  client.close();
});

test("an RSA key signs in as well as it is known", { skip }, async () => {
  const { privateKey } = await crypto.subtle.generateKey(
    { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256", modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]) },
    false,
    ["sign", "verify"],
  );
  const client = createClient({ ...options(), credentials: { username: "demo", keyName: "unknown", privateKey } });
  await assert.rejects(client.limits(), UnauthenticatedError);
  client.close();
});

test("a token of another form is told at once", async () => {
  for (const token of ["x", "hbapi:x:y:z", "hbapi:99999999999:y:z"]) {
    const client = createClient({ endpoint: "127.0.0.1:1", credentials: { token }, plaintext: true });
    await assert.rejects(client.limits({ deadlineMs: 500 }), /none of this service's/);
    client.close();
  }
});

test("what is no UTF-8 is refused: encoded, it would be another user's ID", async () => {
  const half = "crm-\ud800";
  const segBlock = [{ segId: SEGMENT }];
  const options = { endpoint: "127.0.0.1:1", credentials: { token: "x" }, plaintext: true, limits: {} };
  const name = "InvalidRequestError";
  const refused = (user: string): string => `the user ID, domain or a segment's code of user ${user} is no UTF-8`;
  for (const client of [createClient(options), createBrowserClient(options)]) {
    await assert.rejects(client.apply([{ userId: half, segBlock }]), { name, rawMessage: refused('"crm-\\ud800"') });
    await assert.rejects(client.apply([{ userId: "1", domain: half, segBlock }]), { name, rawMessage: refused('"1"') });
    await assert.rejects(client.apply([{ userId: "1", segBlock: [{ segCode: half }] }]), {
      name,
      rawMessage: refused('"1"'),
    });
    await assert.rejects(client.memberships([half]), { name, rawMessage: "users[0].userId is no UTF-8" });
    const mapped = { mapuid: { userId: "1", externalIds: ["\u{1f600}", half] } };
    const rawMessage = "mapuid.externalIds[1] is no UTF-8";
    await assert.rejects(client.call(IdentityService.method.mapUser, mapped), { name, rawMessage });
    const { value } = await client.stream([{ userId: half, segBlock }]).next();
    assert.equal(value?.error?.rawMessage, refused('"crm-\\ud800"'));
    client.close();
  }
});

test("a call that waits for others learns what fails when its time is over", async () => {
  for (const credentials of [{ username: "x", password: "y" }, { token: "hbapi:1:0:0" }]) {
    const client = createClient({ endpoint: "127.0.0.1:1", credentials, plaintext: true });
    await assert.rejects(client.apply([], { deadlineMs: 300 }), UnavailableError);
    client.close();
  }
});

test("what a client cannot be made of is refused, and tells no token", () => {
  const endpoint = "127.0.0.1:1";
  assert.throws(() => createClient({} as ClientOptions), /^TypeError: endpoint is undefined: it has to be host:port /);
  assert.throws(() => createClient({ endpoint, plaintext: true, tls: { roots: "" } }), /exclude each other/);
  assert.throws(
    () => createClient({ endpoint, credentials: { token: "hbapi:1:secret\n:0" } }),
    (error: Error) => /characters that no token has/.test(error.message) && !error.message.includes("secret"),
  );
  for (const token of ["", undefined as unknown as string]) {
    assert.throws(() => createClient({ endpoint, credentials: { token } }), /^TypeError: the token is empty/);
  }
  for (const tls of [{ certificateChain: "-" }, { privateKey: "-" }]) {
    assert.throws(() => createClient({ endpoint, tls }), /needs both certificateChain and privateKey/);
  }
  for (const window of [0, NaN]) assert.throws(() => createClient({ endpoint, window }), /window is 1 at least/);
});

test("what no type is there to refuse is refused: IDs that are numbers, which others may have, no array of them, and times that are none", async () => {
  const client = createClient({ endpoint: "127.0.0.1:1", credentials: { token: "hbapi:1:0:0" }, limits: {} });
  const number = 12345678900987654321 as unknown as string;
  const users = [{ userId: number, segBlock: [{ segId: 10001 }] }];
  const isNumber = /userId: 12345678900987654000 is a number; IDs are text/;
  await assert.rejects(client.apply(users), isNumber);
  await assert.rejects(client.stream(users).next(), isNumber);
  await assert.rejects(client.memberships([number]), isNumber);
  for (const userIds of ["123", new Set(["123"]), undefined] as unknown as string[][]) {
    await assert.rejects(client.memberships(userIds), /^TypeError: userIds is an array of IDs; for one user, an array/);
  }
  for (const deadlineMs of [NaN, "5000", null] as number[]) {
    await assert.rejects(client.memberships(["1"], { deadlineMs }), new RegExp(`deadlineMs is ${deadlineMs}`));
  }
  await assert.rejects(client.stream([], { deadlineMs: NaN }).next(), /deadlineMs is NaN/);
  client.close();
});
