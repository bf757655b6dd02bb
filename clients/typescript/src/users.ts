import type { MessageInitShape } from "@bufbuild/protobuf";
import type { RtSegmentSchema, SegBlockSchema } from "./gen/instantaudience/v1/audience_pb.js";

/** An `expiration` that takes the user out of the segment. */
export const REMOVE = -1;
/** An `expiration` that never comes. */
export const NEVER = 0;

/**
 * A user, and the segments to join or leave: `{ userId: "12345678900987654321", segBlock: [{ segId: 10001 }] }`.
 * `domain` is the kind of ID; absent for the platform's own.
 */
export type User = MessageInitShape<typeof RtSegmentSchema>;

/**
 * A segment to join or leave: `segId`, or `segCode` and the `memberId` that owns it. `expiration` is in minutes: `NEVER`,
 * `REMOVE`, or absent for the default of the segment or of the member.
 */
export type Block = MessageInitShape<typeof SegBlockSchema>;

/**
 * A user's ID, as it is: callers without types may have given a number, which from 2^53 on is another user's.
 *
 * @throws TypeError it is a number.
 */
export function textOf(userId: string | undefined): string {
  if (typeof userId === "number") throw new TypeError(`userId: ${userId} is a number; IDs are text`);
  return userId ?? "";
}
