/** The Connect protocol in JSON, as its own client speaks it: a call, and a stream that is answered while it is sent. */
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { AudienceService, WarningCode } from "instantaudience/v1/audience";
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { skip, told } from "./surroundings.js";

const SEGMENT = 10001;

/** Connect's client of the service. */
function service(): ReturnType<typeof createClient<typeof AudienceService>> {
  return createClient(
    AudienceService,
    createConnectTransport({ baseUrl: told("URL"), httpVersion: "2", useBinaryFormat: false }),
  );
}

/** A request that is checked, and not applied. */
function request(segId: number): object {
  return { rtSegment: [{ userId: "7600000000000000003", segBlock: [{ segId }] }], validateOnly: true };
}

test("a call", { skip }, async () => {
  const answer = await service().applySegments(request(SEGMENT), { headers: { authorization: told("TOKEN") } });
  assert.equal(answer.response?.message?.segmentsInRequest, 1);
});

test("a stream", { skip }, async () => {
  let answered = 0;
  async function* requests(): AsyncGenerator<object> {
    for (let sent = 0; sent < 3; sent += 1) {
      while (answered < sent) await sleep(5);
      yield request(sent === 1 ? 99 : SEGMENT);
    }
  }
  const first = [];
  for await (const answer of service().streamSegments(requests(), { headers: { authorization: told("TOKEN") } })) {
    answered += 1;
    assert.equal(answer.outcome.case, "response");
    first.push(answer.outcome.value.warnings[0]?.code);
  }
  assert.deepEqual(first, [undefined, WarningCode.UNKNOWN_SEGMENT, undefined]);
});

test("a stream without a token", { skip }, async () => {
  async function* requests(): AsyncGenerator<object> {
    yield request(SEGMENT);
  }
  const failed = await service().streamSegments(requests())[Symbol.asyncIterator]().next().catch(ConnectError.from);
  assert.ok(failed instanceof ConnectError);
  assert.equal(failed.code, Code.Unauthenticated);
});
