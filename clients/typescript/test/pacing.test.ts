/** No more is sent than the member's quota allows. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { DeadlineExceededError } from "../src/errors.js";
import { Pacer } from "../src/pacing.js";
import { DEFAULT_LIMITS } from "../src/splitting.js";
import { randomNumbers } from "./random.js";

test("in any second, there are at most as many requests, with as many users, as the limits say", () => {
  const number = randomNumbers(11);
  for (let run = 0; run < 50; run++) {
    const limits = { ...DEFAULT_LIMITS, postsPerSecond: number(1, 5), usersPerSecond: number(10, 50) };
    let now = 0;
    const pacer = new Pacer(() => now);
    const sent: { atMs: number; users: number }[] = [];
    for (let request = 0; request < 60; request++) {
      now += number(0, 300);
      const users = number(1, 10);
      sent.push({ atMs: now + pacer.turnMs(users, limits, Infinity), users });
    }
    for (const [index, { atMs }] of sent.entries()) {
      const inSecond = sent.slice(0, index + 1).filter((other) => other.atMs > atMs - 1000);
      assert.ok(inSecond.length <= limits.postsPerSecond);
      assert.ok(inSecond.reduce((sum, { users }) => sum + users, 0) <= limits.usersPerSecond);
      assert.ok(atMs >= (sent[index - 1]?.atMs ?? 0));
    }
  }
});

test("what may not go in time is refused, and takes no turn", () => {
  const pacer = new Pacer(() => 0);
  const limits = { ...DEFAULT_LIMITS, postsPerSecond: 1 };
  assert.equal(pacer.turnMs(1, limits, 500), 0);
  assert.throws(() => pacer.turnMs(1, limits, 500), DeadlineExceededError);
  assert.equal(pacer.turnMs(1, limits, 1500), 1000);
});

test("a request with more users than a second may have is for the service to refuse", () => {
  assert.equal(new Pacer(() => 0).turnMs(2000, DEFAULT_LIMITS, 500), 0);
});
