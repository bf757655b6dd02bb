/** What a client makes of its options. */
import { type ClientOptions, createClient } from "instantaudience";
import assert from "node:assert/strict";
import { test } from "node:test";

test("a limit that is undefined is the service's default, as one that is absent", async () => {
  // Without `exactOptionalPropertyTypes`, which few programs have, the types allow it.
  const limits = { usersPerCall: undefined, usersPerSecond: 7 } as unknown as NonNullable<ClientOptions["limits"]>;
  const client = createClient({ endpoint: "127.0.0.1:1", plaintext: true, limits });
  const { usersPerCall, usersPerSecond } = await client.limits();
  client.close();
  assert.deepEqual([usersPerCall, usersPerSecond], [1000, 7]);
});

test("no time of retries is below 0, and an attempt takes some", () => {
  for (const [name, time] of [
    ["firstMs", -1],
    ["mostMs", NaN],
    ["attemptMs", 0],
  ] as const) {
    const options = { endpoint: "127.0.0.1:1", plaintext: true, retries: { [name]: time } };
    assert.throws(() => createClient(options), new RegExp(`^TypeError: ${name} is ${time}`));
  }
});
