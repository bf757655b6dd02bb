/** What is left of a stream that its caller leaves. */
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { type User, createClient } from "instantaudience";
import { AudienceService } from "instantaudience/v1/audience";
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer as createHttpServer } from "node:http";
import { createServer } from "node:http2";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { createClient as createBrowserClient } from "../src/browser.js";
import { NotFoundError } from "../src/errors.js";
import { DEFAULT_LIMITS } from "../src/splitting.js";
import { Source } from "../src/window.js";

const USER: User = { userId: "1", segBlock: [{ segId: 7 }] };

/** Takes one result, and leaves the rest, with a read of the users that never ends. */
const LEAVES = `
import { createClient } from "instantaudience";
const [user, giving] = [{ userId: "1", segBlock: [{ segId: 7 }] }, new AbortController()];
async function* users() {
  yield* [user, user];
  await new Promise(() => undefined);
}
const client = createClient({
  endpoint: process.argv[1],
  credentials: { token: "x" },
  plaintext: true,
  limits: { usersPerCall: 1 },
});
await client.stream(users(), { signal: giving.signal }).next();
if (process.argv[2] === "closed") client.close();
else giving.abort();
`;

for (const how of ["closed", "given up"]) {
  test(`a process ends whose stream is ${how}, though nobody takes its results`, { timeout: 20_000 }, async () => {
    const server = createServer(
      connectNodeAdapter({
        routes: (router) =>
          router.service(AudienceService, {
            async *streamSegments(requests) {
              for await (const _ of requests) yield { outcome: { case: "response", value: { status: "OK" } } };
            },
          }),
      }),
    );
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const endpoint = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    const leaving = spawn(process.execPath, ["--input-type=module", "-e", LEAVES, endpoint, how], { stdio: "inherit" });
    const late = setTimeout(() => leaving.kill(), 10_000);
    try {
      assert.deepEqual(await once(leaving, "exit"), [0, null]);
    } finally {
      clearTimeout(late);
      server.close();
    }
  });
}

test("no more users are read once a stream has ended", async () => {
  let goOn = (): void => undefined;
  const goes = new Promise<void>((resolve) => (goOn = resolve));
  let isReadOn = false;
  let end = (): void => undefined;
  const ended = new Promise<void>((resolve) => (end = resolve));
  async function* users(): AsyncGenerator<User> {
    try {
      yield USER;
      await goes;
      yield USER;
      isReadOn = true;
    } finally {
      end();
    }
  }
  const source = new Source(users(), DEFAULT_LIMITS);
  assert.equal((await source.next()).value?.users.length, 1);
  await source.close();
  goOn();
  await ended;
  assert.ok(!isReadOn);
});

test("in browsers, why a caller gives up is no result of the request under way", async () => {
  let isAsked = (): void => undefined;
  const asked = new Promise<void>((resolve) => (isAsked = resolve));
  const server = createHttpServer(() => isAsked()); // It never answers.
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const client = createBrowserClient({
    endpoint: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    credentials: { token: "x" },
    plaintext: true,
    limits: {},
  });
  const giving = new AbortController();
  const reason = new NotFoundError("what another call looked for");
  try {
    const underWay = assert.rejects(client.stream([USER], { signal: giving.signal }).next(), reason);
    await asked;
    giving.abort(reason);
    await underWay;
  } finally {
    client.close();
    server.close();
  }
});

for (const [where, create] of Object.entries({ Node: createClient, browsers: createBrowserClient })) {
  test(`why a caller gives up is thrown, whatever its users throw then, in ${where}`, async () => {
    const giving = new AbortController();
    const reason = new Error("never mind");
    let isTold = false;
    async function* users(): AsyncGenerator<User> {
      try {
        yield* [USER, USER, USER];
      } finally {
        isTold = true;
        throw new Error("this has been closed already");
      }
    }
    const client = create({
      endpoint: "127.0.0.1:1",
      credentials: { token: "x" },
      plaintext: true,
      limits: { usersPerCall: 1 },
      onAttempt: () => giving.abort(reason),
    });
    await assert.rejects(client.stream(users(), { signal: giving.signal }).next(), reason);
    assert.ok(isTold);
    client.close();
  });
}
