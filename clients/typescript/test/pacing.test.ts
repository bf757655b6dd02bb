/** No more is sent than the member's quota allows. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Deadline } from "../src/deadline.js";
import { DeadlineExceededError } from "../src/errors.js";
import { Pacer, type Turn } from "../src/pacing.js";
import { DEFAULT_LIMITS } from "../src/splitting.js";
import { randomNumbers } from "./random.js";

test("in any second, there are at most as many requests, with as many users, as the limits say", () => {
  const number = randomNumbers(11);
  for (let run = 0; run < 50; run++) {
    const limits = { ...DEFAULT_LIMITS, postsPerSecond: number(1, 5), usersPerSecond: number(10, 50) };
    let now = 0;
    const pacer = new Pacer(() => now);
    const sent: Turn[] = [];
    for (let request = 0; request < 60; request++) {
      now += number(0, 300);
      const users = number(1, 10);
      const turn = pacer.turn(users, limits, Infinity);
      // Who has not gone may give up.
      if (turn.atMs > now && number(0, 3) === 0) pacer.giveBack(turn);
      else sent.push(turn);
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
  assert.equal(pacer.turn(1, limits, 500).atMs, 0);
  assert.throws(() => pacer.turn(1, limits, 500), DeadlineExceededError);
  assert.equal(pacer.turn(1, limits, 1500).atMs, 1000);
});

test("a request with more users than a second may have is for the service to refuse", () => {
  assert.equal(new Pacer(() => 0).turn(2000, DEFAULT_LIMITS, 500).atMs, 0);
});

test("who gives up while it waits leaves its turn to those who come later", async () => {
  let now = 0;
  const pacer = new Pacer(() => now);
  const limits = { ...DEFAULT_LIMITS, postsPerSecond: 2 };
  const controller = new AbortController();
  const waiting = Array.from({ length: 100 }, () =>
    pacer.wait(1, limits, new Deadline(Infinity, controller.signal)).catch(() => "gave up"),
  );
  controller.abort();
  assert.equal((await Promise.all(waiting)).filter((outcome) => outcome === "gave up").length, 98);
  now = 500;
  const next = [1, 2, 3].map(() => pacer.turn(1, limits, Infinity).atMs);
  assert.deepEqual(next, [1000, 1000, 2000]);
});
