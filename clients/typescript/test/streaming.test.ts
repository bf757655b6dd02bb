/** How streams end, and begin again, on a service that does with them what it is told to. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError, type HandlerContext } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { type Attempt, type Client, type Retries, type User, createClient } from "instantaudience";
import {
  AudienceService,
  type StreamSegmentsRequest,
  type StreamSegmentsResponseSchema,
} from "instantaudience/v1/audience";
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http2";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { createClient as createBrowserClient } from "../src/browser.js";

type Requests = AsyncIterable<StreamSegmentsRequest>;
type Responses = AsyncIterable<MessageInitShape<typeof StreamSegmentsResponseSchema>>;

/** Does something with a client of a service that does this with streams. */
async function withClient(
  streamSegments: (requests: Requests, context: HandlerContext) => Responses,
  retries: Partial<Retries>,
  told: Attempt[],
  act: (client: Client) => Promise<void>,
  postsPerSecond = 1_000_000,
): Promise<void> {
  const server = createServer(
    connectNodeAdapter({ routes: (router) => router.service(AudienceService, { streamSegments }) }),
  );
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const client = createClient({
    endpoint: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    credentials: { token: "x" },
    plaintext: true,
    limits: { usersPerCall: 1, usersPerSecond: 1_000_000, postsPerSecond },
    retries,
    onAttempt: (attempt) => told.push(attempt),
  });
  try {
    await act(client);
  } finally {
    client.close();
    server.close();
  }
}

/** What the service does. */
async function* answers(requests: Requests): Responses {
  for await (const { rtSegment } of requests) {
    yield { outcome: { case: "response", value: { status: "OK", message: { usersInRequest: rtSegment.length } } } };
  }
}

/** A listener whose queue is full: the kernel drops what comes. */
const HOLE = `
import socket, sys
listener = socket.create_server(("127.0.0.1", 0), backlog=0)
fillers = [socket.socket() for _ in range(4)]
for filler in fillers:
    filler.setblocking(False)
    filler.connect_ex(listener.getsockname())
print(listener.getsockname()[1], flush=True)
sys.stdin.read()
`;
const USER: User = { userId: "1", segBlock: [{ segId: 7 }] };

/** Takes all that comes. */
async function all(results: AsyncIterable<unknown>): Promise<number> {
  let count = 0;
  for await (const _ of results) count += 1;
  return count;
}

test("a stream that does not go on is told as what is thrown", async () => {
  let isSilent = false;
  async function* silent(requests: Requests, context: HandlerContext): Responses {
    if (isSilent) await new Promise((resolve) => context.signal.addEventListener("abort", resolve));
    else yield* answers(requests);
  }
  const told: Attempt[] = [];
  await withClient(silent, { attemptMs: 50 }, told, async (client) => {
    await all(client.stream([USER])); // Else, on a busy machine, there may be no connection in time.
    isSilent = true;
    told.length = 0;
    const thrown = { name: "UnavailableError", code: Code.Unavailable, rawMessage: "the stream does not go on" };
    await assert.rejects(all(client.stream([USER], { deadlineMs: 10 })), thrown);
    assert.deepEqual(
      told.map(({ code }) => code),
      [Code.Unavailable],
    );
  });
});

test("time in which the process was stopped makes no stream stuck", async () => {
  const now = performance.now.bind(performance);
  let aheadMs = 0;
  performance.now = () => now() + aheadMs;
  async function* stream(requests: Requests): Responses {
    for await (const answer of answers(requests)) {
      aheadMs += 1_000_000;
      await sleep(1_000); // The client looks after it meanwhile.
      yield answer;
    }
  }
  const told: Attempt[] = [];
  try {
    await withClient(stream, {}, told, async (client) => {
      assert.equal(await all(client.stream([USER])), 1);
    });
  } finally {
    performance.now = now;
  }
  assert.deepEqual(
    told.map(({ code }) => code),
    [undefined],
  );
});

test("time in which the process was stopped uses up no patience", async () => {
  const now = performance.now.bind(performance);
  let aheadMs = 0;
  performance.now = () => now() + aheadMs;
  const stop = (): void => {
    aheadMs += 1_000_000;
  };
  /** The process is stopped while the client pauses, too. */
  class Told extends Array<Attempt> {
    override push(attempt: Attempt): number {
      setImmediate(stop);
      return super.push(attempt);
    }
  }
  const told = new Told();
  async function* stream(requests: Requests): Responses {
    for await (const answer of answers(requests)) {
      if (told.length < 2) {
        stop();
        throw new ConnectError("", Code.Unavailable);
      }
      yield answer;
    }
  }
  try {
    await withClient(stream, {}, told, async (client) => {
      assert.equal(await all(client.stream([USER])), 1);
    });
  } finally {
    performance.now = now;
  }
  assert.deepEqual(
    Array.from(told, ({ code }) => code),
    [Code.Unavailable, Code.Unavailable, undefined],
  );
});

test("an answer to nothing is a defect of the service", async () => {
  async function* twice(requests: Requests): Responses {
    for await (const answer of answers(requests)) yield* [answer, answer];
  }
  const told: Attempt[] = [];
  await withClient(twice, {}, told, async (client) => {
    await assert.rejects(all(client.stream([USER, USER, USER])), { name: "InternalError", code: Code.Internal });
  });
  assert.deepEqual(
    told.map(({ code }) => code),
    [Code.Internal],
  );
});

test("an answer that is cut off is one that was lost: it is asked for again", async () => {
  let calls = 0;
  const server = createServer().on("stream", (call) => {
    calls += 1;
    call.respond({ ":status": 200, "content-type": "application/grpc" });
    call.end(Buffer.from([0, 0, 0, 0, 9, 10]));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const client = createClient({
    endpoint: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    credentials: { token: "x" },
    plaintext: true,
    limits: {},
    // The last pause would end long after the call's time: that does not come in the middle of an attempt.
    retries: { firstMs: 10, mostMs: 10_000, random: () => 1 },
  });
  try {
    const thrown = { name: "UnavailableError", code: Code.Internal };
    await assert.rejects(client.apply([USER], { deadlineMs: 2_000 }), thrown);
    await assert.rejects(all(client.stream([USER], { deadlineMs: 2_000 })), thrown);
    assert.ok(calls > 4, `${calls} calls`);
  } finally {
    client.close();
    server.close();
  }
});

test("a stream that ends while users are to come begins again after a pause", async () => {
  const told: Attempt[] = [];
  async function* stream(requests: Requests): Responses {
    for await (const answer of answers(requests)) {
      yield answer;
      if (told.length === 0) return;
    }
  }
  async function* users(): AsyncGenerator<User> {
    yield* [USER, USER];
    while (told.length === 0) await sleep(10);
  }
  let pauses = 0;
  const random = (): number => ++pauses / 1000;
  await withClient(stream, { random }, told, async (client) => {
    assert.equal(await all(client.stream(users())), 2);
  });
  assert.deepEqual(
    told.map(({ code }) => code),
    [Code.Unavailable, undefined],
  );
  assert.equal(pauses, 1);
});

test("a repeated request that is refused again goes before those that wait for the quota", async () => {
  const applied: (string | undefined)[] = [];
  let streams = 0;
  async function* stream(requests: Requests): Responses {
    let refuses = ++streams === 2;
    for await (const { rtSegment } of requests) {
      if (streams === 1) {
        await sleep(2_500); // Until the others are on their way.
        throw new ConnectError("", Code.Unavailable);
      }
      if (refuses) {
        refuses = false;
        yield { outcome: { case: "error", value: { code: Code.Unavailable } } };
        continue;
      }
      applied.push(rtSegment[0]?.userId);
      yield { outcome: { case: "response", value: { status: "OK", message: { usersInRequest: 1 } } } };
    }
  }
  const users = ["1", "2", "3", "4", "5", "6"].map((userId) => ({ ...USER, userId }));
  await withClient(
    stream,
    { firstMs: 1 },
    [],
    async (client) => {
      assert.equal(await all(client.stream(users)), users.length);
    },
    2,
  );
  assert.ok(applied.indexOf("1") < applied.indexOf("6"), applied.join(" "));
});

test("a service that is not there is waited for as long as the patience lasts", async () => {
  const client = createClient({
    endpoint: "127.0.0.1:1",
    credentials: { token: "x" },
    plaintext: true,
    limits: {},
    retries: { firstMs: 1, mostMs: 1 },
  });
  await assert.rejects(all(client.stream([USER], { deadlineMs: 300 })), { name: "UnavailableError" });
  client.close();
});

for (const isIdle of [true, false]) {
  const when = isIdle ? "while they are waited for" : "with the next one";
  test(`users who are waited for use up no patience, where the stream fails ${when}`, async () => {
    const deadlineMs = 300;
    let answered = (): void => undefined;
    let late = (): void => undefined;
    const isAnswered = new Promise<void>((resolve) => {
      answered = resolve;
    });
    const isLate = new Promise<void>((resolve) => {
      late = resolve;
    });
    let streams = 0;
    async function* stream(requests: Requests): Responses {
      if (++streams > 1) return yield* answers(requests);
      let count = 0;
      for await (const answer of answers(requests)) {
        if (++count > 1) break;
        yield answer;
        if (isIdle) {
          await isLate;
          break;
        }
      }
      throw new ConnectError("", Code.Unavailable);
    }
    const told: Attempt[] = [];
    async function* users(): AsyncGenerator<User> {
      yield USER;
      yield USER;
      await isAnswered;
      await sleep(1.1 * deadlineMs);
      late();
      while (isIdle && told.length === 0) await sleep(10);
    }
    await withClient(stream, { firstMs: 1 }, told, async (client) => {
      for await (const { error } of client.stream(users(), { deadlineMs })) {
        assert.equal(error, undefined);
        answered();
      }
    });
    assert.deepEqual(
      told.map(({ code }) => code),
      [Code.Unavailable, undefined],
    );
  });
}

test("a connection that does not come about is waited for as long as an attempt may take, and the patience lasts", async () => {
  const hole = spawn("python3", ["-c", HOLE]);
  try {
    const [port] = (await once(hole.stdout, "data")) as [Buffer];
    const client = createClient({
      endpoint: `127.0.0.1:${port.toString().trim()}`,
      credentials: { token: "x" },
      plaintext: true,
      limits: {},
      retries: { attemptMs: 50, firstMs: 1, mostMs: 1 },
    });
    // The attempt and its connection are given up at the same time.
    const rawMessage = /^(the stream does not go on|the connection could not be made in time)$/;
    await assert.rejects(all(client.stream([USER], { deadlineMs: 500 })), { name: "UnavailableError", rawMessage });
    client.close();
  } finally {
    hole.kill();
  }
});

for (const [where, create] of [
  ["Node.js", createClient],
  ["browsers", createBrowserClient],
] as const) {
  test(`in ${where}, a caller gives up while users are waited for`, async () => {
    const client = create({ endpoint: "127.0.0.1:1", credentials: { token: "x" }, plaintext: true, limits: {} });
    const gone = new Error("never mind");
    const controller = new AbortController();
    async function* users(): AsyncGenerator<User> {
      controller.abort(gone);
      await new Promise(() => undefined);
      yield USER;
    }
    await assert.rejects(client.stream(users(), { signal: controller.signal }).next(), gone);
    client.close();
  });
}

test("a stream whose answers are no more taken is told as given up", async () => {
  const told: Attempt[] = [];
  await withClient(answers, {}, told, async (client) => {
    for await (const { error } of client.stream([USER, USER])) {
      assert.equal(error, undefined);
      break;
    }
  });
  assert.deepEqual(
    told.map(({ code }) => code),
    [Code.Canceled],
  );
});

test("what is no UTF-8 is refused in its place, and a stream goes on", async () => {
  const half = "\ud800";
  for (const ids of [[half], [half, "1"], ["1", half], ["1", half, half, "1", "2"]]) {
    await withClient(answers, {}, [], async (client) => {
      let tell = (): void => undefined;
      async function* users(): AsyncGenerator<User> {
        for (const userId of ids) {
          const settled = new Promise<void>((resolve) => {
            tell = resolve;
          });
          yield { ...USER, userId };
          await settled; // As a queue that is acknowledged user by user.
        }
      }
      const refused: (boolean | undefined)[] = [];
      for await (const { firstUser, result, error } of client.stream(users())) {
        refused[firstUser] = error?.kind === "InvalidRequest" && result === undefined;
        tell();
      }
      assert.deepEqual(
        refused,
        ids.map((id) => id === half),
      );
    });
  }
});
