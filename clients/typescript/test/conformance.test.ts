/** The client passes the cases that clients of every language have to pass (clients/conformance). */
import { createClient } from "instantaudience";
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { createClient as createBrowserClient } from "../src/browser.js";
import { cases } from "./cases.js";
import { checkStep, optionsOf } from "./checking.js";
import { control, skip } from "./surroundings.js";

/** When what came to the proxy is counted, where a case waits. */
const WAIT_MS = 1500;

for (const one of cases("../conformance")) {
  test(`${one.file}: ${one.name}`, { skip }, async () => {
    for (const make of [createClient, createBrowserClient]) {
      for (const endpoint of one.endpoints ?? []) make({ endpoint }).close();
      for (const endpoint of one.refused_endpoints ?? []) {
        assert.throws(() => make({ endpoint }), /^TypeError: endpoint is /);
      }
    }
    if (one.faults !== undefined) await control(one.faults);
    const client = createClient(optionsOf(one));
    try {
      for (const step of one.steps) {
        const began = performance.now();
        const { closed_after_ms: closedAfterMs } = step;
        const closing = closedAfterMs === undefined ? undefined : sleep(closedAfterMs).then(() => client.close());
        await checkStep(client, step);
        await closing;
        assert.ok(performance.now() - began >= (step.at_least_ms ?? 0));
      }
      if (one.wait === true) await sleep(WAIT_MS);
      if (one.seen !== undefined) {
        const { seen } = await control();
        const asked = Object.keys(one.seen).map((method) => [method, seen[method] ?? 0]);
        assert.deepEqual(Object.fromEntries(asked), one.seen);
      }
    } finally {
      client.close();
    }
  });
}
