/** Connections that are never made. */
import { createClient } from "instantaudience";
import assert from "node:assert/strict";
import { once } from "node:events";
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
