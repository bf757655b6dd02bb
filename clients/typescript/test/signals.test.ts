/** One signal gives up any number of calls, whatever they are at. */
import { Code } from "@connectrpc/connect";
import { type Attempt, type ClientOptions, type User, createClient } from "instantaudience";
import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { createServer as createHttpServer } from "node:http";
import { createServer } from "node:http2";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { createClient as createBrowserClient } from "../src/browser.js";

const CALLS = 15;
const LIMITS = { postsPerSecond: 1, usersPerCall: 1 };

async function all(results: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of results);
}

async function* endless(): AsyncGenerator<User> {
  yield* [{ userId: "1" }, { userId: "2" }]; // The first one can go then.
  await new Promise(() => undefined);
}

for (const [where, make, listen, streams] of [
  ["Node", createClient, (asked: () => void) => createServer(asked), ["StreamSegments"]],
  ["browsers", createBrowserClient, (asked: () => void) => createHttpServer(asked), []],
] as const) {
  test(`calls of one signal have one listener, and end with it, in ${where}`, async () => {
    const warnings: Error[] = [];
    const warned = (warning: Error): unknown => warnings.push(warning);
    process.on("warning", warned);
    let isAsked = (): void => undefined;
    const asked = new Promise<void>((resolve) => (isAsked = resolve));
    const server = listen(() => isAsked()); // It never answers.
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const told: Attempt[] = [];
    const options: ClientOptions = {
      endpoint: `127.0.0.1:${(server.address() as AddressInfo).port}`,
      credentials: { token: "hbapi:1:0:0" },
      plaintext: true,
      retries: { attemptMs: 600_000 },
      onAttempt: (attempt) => told.push(attempt),
    };
    const client = make({ ...options, limits: LIMITS });
    const asking = make(options);
    const giving = new AbortController();
    const { signal } = giving;
    try {
      const underWay = Array.from({ length: CALLS }, () => [
        client.memberships(["1"], { signal }),
        client.apply([{ userId: "1" }], { signal }), // It waits for its member's limit.
        all(client.stream(endless(), { signal })),
        asking.limits({ signal }),
      ]).flat();
      const ended = Promise.allSettled(underWay);
      await asked;
      await new Promise((resolve) => setImmediate(resolve));
      assert.equal(getEventListeners(signal, "abort").length, 1);
      giving.abort(new Error("never mind"));
      for (const end of await ended) assert.equal(end.status === "rejected" && end.reason, signal.reason);
      assert.equal(getEventListeners(signal, "abort").length, 0);
      assert.deepEqual(new Set(told.map(({ code }) => code)), new Set([Code.Canceled]));
      const methods = new Set(told.map(({ method }) => method.split("/").at(-1)));
      // What limits() has asked goes on: it is not these calls' alone.
      assert.deepEqual(methods, new Set(["BatchGetMemberships", "ApplySegments", ...streams]));
      await assert.rejects(client.memberships(["1"], { signal }), signal.reason);
      await assert.rejects(all(client.stream(endless(), { signal })), signal.reason);
      assert.deepEqual(warnings, []);
    } finally {
      process.off("warning", warned);
      client.close();
      asking.close();
      server.close();
    }
  });
}
