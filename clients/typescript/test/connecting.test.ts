/** Connections that are never made, how those that are name the service, and what they bear. */
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { createClient } from "instantaudience";
import { AudienceService } from "instantaudience/v1/audience";
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer as createHttp2Server } from "node:http2";
import { type AddressInfo, type Socket, createServer } from "node:net";
import { test } from "node:test";

test("a handshake that nobody answers is given up with its attempt, and the next one connects anew", async () => {
  const sockets: Socket[] = [];
  const server = createServer((socket) => sockets.push(socket)).listen(0, "127.0.0.1");
  await once(server, "listening");
  const client = createClient({
    endpoint: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    credentials: { token: "x" },
    retries: { firstMs: 1, mostMs: 1, attemptMs: 50 },
  });
  try {
    const underWay = assert.rejects(client.memberships(["1"], { deadlineMs: 20_000 }), /the client is closed/);
    while (sockets.length < 2) await Promise.race([once(server, "connection"), underWay]);
    client.close();
    await underWay;
  } finally {
    for (const socket of sockets) socket.destroy();
    server.close();
  }
});

for (const address of ["127.0.0.1", "::1"]) {
  test(`a service at ${address} is named as its endpoint`, async () => {
    const named: (string | undefined)[] = [];
    const routed = connectNodeAdapter({
      routes: (router) =>
        router.service(AudienceService, { batchGetMemberships: () => ({ response: { rtSegment: [{}] } }) }),
    });
    const server = createHttp2Server((request, response) => {
      named.push(request.authority);
      routed(request, response);
    }).listen(0, address);
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const endpoint = address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
    const client = createClient({ endpoint, credentials: { token: "x" }, plaintext: true });
    try {
      assert.equal((await client.memberships(["1"])).length, 1);
      assert.deepEqual(named, [endpoint]);
    } finally {
      client.close();
      server.close();
    }
  });
}

test("a connection bears any number of large requests that are refused before they are sent", async () => {
  const server = createHttp2Server().listen(0, "127.0.0.1");
  server.on("stream", (stream) => {
    const status = { ":status": 200, "content-type": "application/grpc", "grpc-status": "8" };
    stream.respond(status, { endStream: true });
    stream.close();
  });
  await once(server, "listening");
  const endpoint = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const client = createClient({ endpoint, credentials: { token: "x" }, plaintext: true });
  try {
    for (let call = 0; call < 10; call += 1) {
      await assert.rejects(client.memberships(["x".repeat(5_000_000)], { deadlineMs: 5000 }), {
        name: "TooLargeError",
      });
    }
  } finally {
    client.close();
    server.close();
  }
});
