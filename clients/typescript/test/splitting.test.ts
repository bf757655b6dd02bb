/** What a request cannot hold goes in several, and is answered as one. */
import { create, equals, toBinary } from "@bufbuild/protobuf";
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  ApplySegmentsRequestSchema,
  ApplySegmentsResultSchema,
  RtSegmentSchema,
  WarningCode,
  type ApplySegmentsResult,
  type RtSegment,
} from "../src/gen/instantaudience/v1/audience_pb.js";
import { DEFAULT_LIMITS, type Part, joined, split } from "../src/splitting.js";
import { randomNumbers } from "./random.js";

const LIMITS = { ...DEFAULT_LIMITS, usersPerCall: 3, segmentsPerUser: 2, bodyBytes: 150 };
const { UNKNOWN_SEGMENT, INVALID_USER_ID, NO_VALID_SEGMENTS, NO_VALID_USERS } = WarningCode;

function user(userId: string, blocks: number): RtSegment {
  return create(RtSegmentSchema, { userId, segBlock: Array.from({ length: blocks }, (_, segId) => ({ segId })) });
}

/** Of each request, for each of its users: whose it is, from which block on, and how many blocks. */
function shapes(parts: Part[]): number[][][] {
  return parts.map(({ users, places }) =>
    places.map((place, index) => [place.user, place.firstBlock, users[index]?.segBlock.length ?? 0]),
  );
}

function result(users: number, blocks: number, ...warnings: [WarningCode, string][]): ApplySegmentsResult {
  return create(ApplySegmentsResultSchema, {
    status: "OK",
    message: { usersInRequest: users, segmentsInRequest: blocks },
    warnings: warnings.map(([code, path]) => ({ code, path })),
  });
}

function told(answer: ApplySegmentsResult): [WarningCode, string][] {
  return answer.warnings.map(({ code, path }) => [code, path]);
}

const SHAPES: [blocks: number[], shapes: number[][][]][] = [
  [[], [[]]],
  [[0], [[[0, 0, 0]]]],
  [[1, 2, 1], [[[0, 0, 1], [1, 0, 2], [2, 0, 1]]]], // prettier-ignore
  [[1, 1, 1, 1], [[[0, 0, 1], [1, 0, 1], [2, 0, 1]], [[3, 0, 1]]]], // prettier-ignore
  [[5], [[[0, 0, 2], [0, 2, 2], [0, 4, 1]]]], // prettier-ignore
  [[1, 5], [[[0, 0, 1], [1, 0, 2], [1, 2, 2]], [[1, 4, 1]]]], // prettier-ignore
];

for (const [blocks, expected] of SHAPES) {
  test(`users with ${blocks.join(", ") || "no"} blocks are split`, () => {
    assert.deepEqual(shapes(split(blocks.map((count) => user("1", count)), LIMITS)), expected); // prettier-ignore
  });
}

test("one that is larger than a request is split too", () => {
  const block = { segCode: "x".repeat(80), memberId: 1 };
  const large = { userId: "1", segBlock: [block, block] };
  assert.deepEqual(shapes(split([large, large], LIMITS)), [[[0, 0, 1]], [[0, 1, 1]], [[1, 0, 1]], [[1, 1, 1]]]);
});

test("nothing is lost, and nothing is too large", () => {
  const number = randomNumbers(7);
  for (let run = 0; run < 200; run++) {
    const limits = {
      ...DEFAULT_LIMITS,
      usersPerCall: number(1, 4),
      segmentsPerUser: number(1, 4),
      bodyBytes: number(100, 400),
    };
    const given = Array.from({ length: number(0, 20) }, () => user("ü".repeat(number(0, 15)), number(0, 8)));
    const whole: RtSegment[] = [];
    for (const { users, places } of split(given, limits)) {
      assert.ok(users.length <= limits.usersPerCall);
      const bytes = toBinary(ApplySegmentsRequestSchema, create(ApplySegmentsRequestSchema, { rtSegment: users }));
      assert.ok(bytes.byteLength <= limits.bodyBytes);
      for (const [index, piece] of users.entries()) {
        assert.ok(piece.segBlock.length <= limits.segmentsPerUser);
        const place = places[index] ?? assert.fail("a user without a place");
        const begun = whole[place.user];
        assert.equal(begun?.segBlock.length ?? 0, place.firstBlock);
        whole[place.user] = { ...piece, segBlock: [...(begun?.segBlock ?? []), ...piece.segBlock] };
      }
    }
    assert.equal(whole.length, given.length);
    for (const [index, one] of given.entries()) assert.ok(equals(RtSegmentSchema, one, whole[index] ?? user("", 0)));
  }
});

test("paths are those of the caller's users", () => {
  const parts = split([user("1", 5), user("2", 1), user("3", 1)], LIMITS);
  const answer = joined(parts, [
    result(3, 5, [UNKNOWN_SEGMENT, "rt_segment[1].seg_block[1]"]),
    result(1, 1, [UNKNOWN_SEGMENT, "rt_segment[0].seg_block[0]"], [INVALID_USER_ID, "rt_segment[1]"]),
  ]);
  assert.deepEqual(told(answer), [
    [UNKNOWN_SEGMENT, "rt_segment[0].seg_block[3]"],
    [UNKNOWN_SEGMENT, "rt_segment[1].seg_block[0]"],
    [INVALID_USER_ID, "rt_segment[2]"],
  ]);
  assert.equal(answer.message?.usersInRequest, 2);
  assert.equal(answer.message?.segmentsInRequest, 6);
});

test("a user is skipped where all its pieces are", () => {
  const parts = split([user("1", 2)], { ...DEFAULT_LIMITS, usersPerCall: 1, segmentsPerUser: 1 });
  const skipped = (): ApplySegmentsResult => result(0, 0, [NO_VALID_SEGMENTS, "rt_segment[0]"], [NO_VALID_USERS, ""]);
  assert.deepEqual(told(joined(parts, [skipped(), result(1, 1)])), []);
  assert.deepEqual(told(joined(parts, [skipped(), skipped()])), [
    [NO_VALID_SEGMENTS, "rt_segment[0]"],
    [NO_VALID_USERS, ""],
  ]);
});
