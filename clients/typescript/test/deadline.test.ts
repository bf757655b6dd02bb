/** Times that are longer than a timer of JavaScript's takes, which are 24.8 days. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Deadline } from "../src/deadline.js";
import { Attempts, DEFAULT_RETRIES } from "../src/retrying.js";

const LONG_MS = 2 ** 31;
/** Longer than what fires at once takes. */
const SHORT_MS = 50;

for (const ms of [LONG_MS, Infinity]) {
  test(`what comes in time is not late where the time is ${ms} ms`, async () => {
    assert.equal(await new Deadline(ms).bound(sleep(SHORT_MS, "answer")), "answer");
  });

  test(`a pause of ${ms} ms ends when the caller gives up, not before`, async () => {
    const gone = new Error("never mind");
    const controller = new AbortController();
    const slept = new Deadline(Infinity, controller.signal).sleep(ms);
    await sleep(SHORT_MS);
    controller.abort(gone);
    await assert.rejects(slept, gone);
  });
}

test("what fails that nobody waits for any more ends no process", async () => {
  const gone = new Error("never mind");
  const unheard: unknown[] = [];
  const hear = (failure: unknown): unknown => unheard.push(failure);
  process.on("unhandledRejection", hear);
  try {
    const fails = sleep(SHORT_MS).then(() => Promise.reject(new Error("of another's sign-in, or of the users")));
    await assert.rejects(new Deadline(Infinity, AbortSignal.abort(gone)).bound(fails), gone);
    await sleep(2 * SHORT_MS);
    assert.deepEqual(unheard, []);
  } finally {
    process.off("unhandledRejection", hear);
  }
});

test("an attempt has no more time than gRPC can say, eight digits", () => {
  const attempts = new Attempts({ ...DEFAULT_RETRIES, attemptMs: Infinity }, new Deadline(Infinity));
  assert.equal(attempts.timeoutMs(), 99_999_999);
});
