/** Keys in PEM are found as other programs write them. */
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { test } from "node:test";
import { assertion } from "../src/credentials.js";

const privateKey = generateKeyPairSync("ec", { namedCurve: "P-256" })
  .privateKey.export({ type: "pkcs8", format: "pem" })
  .toString();
const CERTIFICATE = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
const sign = (pem: string): Promise<string> => assertion({ username: "demo", keyName: "x", privateKey: pem }, 0);

test("a key is found whatever stands around it", async () => {
  for (const around of [
    `Bag Attributes\n${privateKey}`,
    `\ufeff${privateKey}`,
    CERTIFICATE + privateKey,
    privateKey + CERTIFICATE,
  ]) {
    assert.match(await sign(around), /^ey/);
  }
});

test("what is no key is a type error", async () => {
  const lines = privateKey.split("\n");
  for (const none of ["", CERTIFICATE, [lines[0], "A", lines[3]].join("\n"), [lines[0], "AAAA", lines[3]].join("\n")]) {
    await assert.rejects(sign(none), TypeError);
  }
});
