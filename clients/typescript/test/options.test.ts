/** What a client makes of its options. */
import { type ClientOptions, createClient } from "instantaudience";
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { test } from "node:test";

test("a limit that is undefined is the service's default, as one that is absent", async () => {
  // Without `exactOptionalPropertyTypes`, which few programs have, the types allow it.
  const limits = { usersPerCall: undefined, usersPerSecond: 7 } as unknown as NonNullable<ClientOptions["limits"]>;
  const client = createClient({ endpoint: "127.0.0.1:1", plaintext: true, limits });
  const { usersPerCall, usersPerSecond } = await client.limits();
  client.close();
  assert.deepEqual([usersPerCall, usersPerSecond], [1000, 7]);
});

test("a limit without room is refused", () => {
  for (const [name, limit] of [
    ["usersPerCall", 0],
    ["getsPerSecond", NaN],
  ] as const) {
    const options = { endpoint: "127.0.0.1:1", plaintext: true, limits: { [name]: limit } };
    assert.throws(() => createClient(options), new RegExp(`^TypeError: ${name} is ${limit}: a limit is 1 at least`));
  }
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

/** Of a key that nobody has any more. */
const CERTIFICATE = `-----BEGIN CERTIFICATE-----
MIIBbzCCARWgAwIBAgIUDXtAaFw3FZQ7auYnwPyXtD1bAFYwCgYIKoZIzj0EAwIw
DDEKMAgGA1UEAwwBeDAgFw0yNjExMjkxNjE1MDFaGA8yMTI2MTEwNTE2MTUwMVow
DDEKMAgGA1UEAwwBeDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABArBkXd+sPkS
MeAfK7ovY1oZZLzg9Wj3X65DCbbIoWpgmPEVMZfLIuiOJIif9J34BgIir/Ier/vJ
bOsNkYAsCgWjUzBRMB0GA1UdDgQWBBRVFagq+BRbRy+o+uuKap2zcpjzeTAfBgNV
HSMEGDAWgBRVFagq+BRbRy+o+uuKap2zcpjzeTAPBgNVHRMBAf8EBTADAQH/MAoG
CCqGSM49BAMCA0gAMEUCIQCkfZ/v7Lx9Ibn49Zz/m7c75icTfwbCxAaZw0X6OA0C
UQIgB355U91UZNp1OToBsS/XOSTvcYaXBuM/r5WVUDDiqQk=
-----END CERTIFICATE-----
`;

test("certificates and keys that are none are refused, not told with each call as no connection", () => {
  const { privateKey: key } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const privateKey = key.export({ type: "pkcs8", format: "pem" }).toString();
  const encrypted = key.export({ type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase: "x" }).toString();
  for (const [tls, problem] of [
    [{ roots: "" }, "no certificate in PEM form in roots"],
    [{ roots: privateKey }, "no certificate in PEM form in roots"],
    [{ certificateChain: "", privateKey }, "no certificate in PEM form in certificateChain"],
    [{ certificateChain: CERTIFICATE, privateKey: "" }, "the private key cannot be used"],
    [{ certificateChain: CERTIFICATE, privateKey: encrypted }, "the private key cannot be used"],
    [{ certificateChain: CERTIFICATE, privateKey }, "the private key cannot be used: .*key values mismatch"],
  ] as const) {
    assert.throws(() => createClient({ endpoint: "127.0.0.1:1", tls }), new RegExp(`^TypeError: .*${problem}`));
  }
  createClient({ endpoint: "127.0.0.1:1", tls: { roots: `# of the test\n${CERTIFICATE}` } }).close();
});
