/** A client that is closed sends nothing any more, whatever its calls were at. */
import type { Interceptor } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { type Client, type ClientOptions, type User, createClient } from "instantaudience";
import { AudienceService } from "instantaudience/v1/audience";
import assert from "node:assert/strict";
import { createServer as createHttpServer } from "node:http";
import { createServer } from "node:http2";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { createClient as createBrowserClient } from "../src/browser.js";

/** A promise, and what it waits for. */
function event(): { readonly come: Promise<void>; readonly tell: () => void } {
  let tell = (): void => undefined;
  const come = new Promise<void>((resolve) => (tell = resolve));
  return { come, tell };
}

/** Closes a client of a service that is asked nothing, or never answers, while its call is at something. */
async function closed(
  make: (options: ClientOptions) => Pick<Client, "memberships" | "close">,
  server: ReturnType<typeof createServer> | ReturnType<typeof createHttpServer>,
  interceptors: Interceptor[],
  isAtIt: Promise<void>,
  goOn: () => void,
): Promise<void> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const endpoint = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const client = make({
    endpoint,
    credentials: { token: "x" },
    plaintext: true,
    interceptors,
    retries: { attemptMs: 600_000 },
  });
  try {
    const underWay = assert.rejects(client.memberships(["1"]), {
      name: "UnavailableError",
      rawMessage: "the client is closed",
    });
    await isAtIt;
    client.close();
    goOn();
    await underWay;
  } finally {
    server.close();
  }
}

test("a call that an interceptor holds meanwhile does not connect again", async () => {
  const [held, goes] = [event(), event()];
  let connections = 0;
  const routes = connectNodeAdapter({ routes: (router) => router.service(AudienceService, {}) });
  const server = createServer(routes).on("session", () => (connections += 1));
  const hold: Interceptor = (next) => async (request) => {
    held.tell();
    await goes.come;
    return next(request);
  };
  await closed(createClient, server, [hold], held.come, goes.tell);
  assert.equal(connections, 0);
});

test("a call under way over gRPC-Web fails", async () => {
  const asked = event();
  const server = createHttpServer(asked.tell);
  await closed(createBrowserClient, server, [], asked.come, () => undefined);
});

/** Closes a client while its call waits for something that does not come. */
async function closedWaiting(
  client: Pick<Client, "close">,
  underWay: Promise<unknown>,
  isAtIt: Promise<void>,
): Promise<void> {
  const rejected = assert.rejects(underWay, { name: "UnavailableError", rawMessage: "the client is closed" });
  await isAtIt;
  client.close();
  client.close();
  await rejected;
}

const AN_HOUR_MS = 3_600_000;
const PATIENT = { firstMs: AN_HOUR_MS, mostMs: AN_HOUR_MS, random: () => 1 };
const NOWHERE: ClientOptions = { endpoint: "127.0.0.1:1", credentials: { token: "x" }, plaintext: true };

async function all(results: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of results);
}

test("calls that come later fail", async () => {
  const client = createClient({ ...NOWHERE, limits: {} });
  client.close();
  const reads = [() => client.memberships([]), () => client.limits()];
  for (const call of [...reads, () => client.apply([]), () => all(client.stream([]))]) {
    await assert.rejects(call, { name: "UnavailableError", rawMessage: "the client is closed" });
  }
});

for (const [where, make] of Object.entries({ Node: createClient, browsers: createBrowserClient })) {
  test(`a stream that waits for users fails, in ${where}`, async () => {
    const asked = event();
    async function* users(): AsyncGenerator<User> {
      asked.tell();
      await new Promise(() => undefined);
      yield { userId: "1" };
    }
    const client = make({ ...NOWHERE, limits: {} });
    await closedWaiting(client, all(client.stream(users())), asked.come);
  });

  test(`a call that pauses fails, in ${where}`, async () => {
    const failed = event();
    const client = make({ ...NOWHERE, retries: PATIENT, onAttempt: failed.tell });
    await closedWaiting(client, client.memberships(["1"], { deadlineMs: 2 * AN_HOUR_MS }), failed.come);
  });
}

test("a call that waits for its member's limit fails", async () => {
  const failed = event();
  const client = createClient({
    ...NOWHERE,
    limits: { postsPerSecond: 1 },
    retries: PATIENT,
    onAttempt: failed.tell,
  });
  const apply = (): Promise<unknown> => client.apply([{ userId: "1" }], { deadlineMs: 2 * AN_HOUR_MS });
  const calls = Array.from({ length: 600 }, () => apply().catch((failure: Error) => failure.name));
  await closedWaiting(client, apply(), failed.come);
  assert.deepEqual(new Set(await Promise.all(calls)), new Set(["UnavailableError"]));
});
