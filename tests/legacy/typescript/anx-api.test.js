// anx-api, whose host is its setting `target`.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { AnxApi } from "anx-api";

const NAME = "anx-api";
const target = process.env.INSTANT_AUDIENCE_URL;
const password = process.env.INSTANT_AUDIENCE_LEGACY_PASSWORD;
const api = new AnxApi({ target, rateLimiting: false });
let member;

// Waits until the segments with `Tea` in their names have these: a worker knows what another one has changed within a
// second.
async function named(...expected) {
  let names;
  do {
    const answer = await api.get({ uri: "/segment", params: { search: "Tea" } });
    names = answer.body.response.segments.map((segment) => segment.short_name);
  } while (names.join() !== expected.join());
}

before(async () => {
  await api.login(NAME, password);
  member = (await api.get("/member")).body.response.member.id;
});

test("it is told that its token is unknown or has ended, and signs in again", async () => {
  const ended = new AnxApi({ target, rateLimiting: false, token: "hbapi:1:0:0" });
  await assert.rejects(ended.get("/member"), { name: "NotAuthenticatedError", id: "NOAUTH" });
  await ended.login(NAME, password);
  assert.equal((await ended.get("/member")).body.response.member.id, member);
});

test("a wrong password", async () => {
  const refused = { name: "NotAuthenticatedError", code: "INVALID_LOGIN" };
  await assert.rejects(new AnxApi({ target }).login(NAME, "wrong"), refused);
});

test("pages", async () => {
  const { response } = (await api.getAll("/segment")).body;
  const expected = Number(process.env.INSTANT_AUDIENCE_LEGACY_SEGMENTS);
  assert.equal(new Set(response.segments.map((segment) => segment.id)).size, expected);
  assert.equal(response.count, expected);
});

test("a segment from its beginning to its end", async () => {
  const made = await api.post(`/segment?member_id=${member}`, { segment: { short_name: "Tea" } });
  const one = { uri: "/segment", params: { id: made.body.response.id } };
  await named("Tea");
  await api.put(one, { segment: { short_name: "Tea drinkers" } });
  await named("Tea drinkers");
  await api.delete(one);
  await named();
  const nobody = { uri: "/segment", params: { id: 2147483647 } };
  await assert.rejects(api.get(nobody), { name: "ApiError", statusCode: 404, id: "SYNTAX" });
});

test("it waits when it has called too often", async () => {
  let refused = 0;
  const slow = new AnxApi({ target, onRateLimitExceeded: () => refused++ });
  await slow.login(`slow-${NAME}`, password);
  for (let tries = 0; !refused && tries < 20; tries++) {
    assert.equal((await slow.get("/segment")).body.response.count, 0);
  }
  assert.ok(refused);
});

test("a file", async () => {
  const segment = (await api.get({ uri: "/segment", numElements: 1 })).body.response.segments[0].id;
  const created = await api.post(`/batch-segment?member_id=${member}`);
  const { job_id, upload_url } = created.body.response.batch_segment_upload_job;
  const content = Buffer.from(`7652266028043224430;${segment}:0\nnobody;${segment}:0\n`);
  await api.post({ uri: new URL(upload_url).pathname, mimeType: "application/octet-stream" }, content);
  let job;
  do {
    await pause(100);
    const answer = await api.get({ uri: "/batch-segment", params: { member_id: member, job_id } });
    job = answer.body.response.batch_segment_upload_job;
  } while (job.phase !== "completed");
  assert.deepEqual([job.percent_complete, job.num_valid, job.num_invalid_user], [100, 1, 1]);
});
