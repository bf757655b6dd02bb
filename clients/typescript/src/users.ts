import type { MessageInitShape } from "@bufbuild/protobuf";
import { InvalidRequestError } from "./errors.js";
import type { RtSegmentSchema, SegBlockSchema } from "./gen/instantaudience/v1/audience_pb.js";

/** The `expiration` that takes the user out of the segment. */
export const REMOVE = -1;
/** The `expiration` of a membership that never ends. */
export const NEVER = 0;

/**
 * A user, and the segments to join or leave: `{ userId: "12345678900987654321", segBlock: [{ segId: 10001 }] }`.
 * `domain` is the kind of ID; absent for the platform's own.
 */
export type User = MessageInitShape<typeof RtSegmentSchema>;

/**
 * A segment to join or leave: `segId`, or `segCode` with the `memberId` that owns it. `expiration` is in minutes:
 * `NEVER`, `REMOVE`, or absent for the default of the segment or the member.
 */
export type Block = MessageInitShape<typeof SegBlockSchema>;

/**
 * Returns a user ID unchanged, but rejects numbers, which callers without types may pass: from 2^53 on they are
 * inexact.
 *
 * @throws TypeError it is a number.
 */
export function textOf(userId: string | undefined): string {
  if (typeof userId === "number") throw new TypeError(`userId: ${userId} is a number; IDs are text`);
  return userId ?? "";
}

/** Half of a surrogate pair, without the other half. */
const HALF_A_PAIR = /\p{Surrogate}/u;

/** Whether a text can be UTF-8: encoded, all halves of surrogate pairs would be U+FFFD, and different IDs one ID. */
export function isText(text = ""): boolean {
  return !HALF_A_PAIR.test(text);
}

/**
 * Checks the text in a request.
 *
 * @throws InvalidRequestError some of it cannot be UTF-8; the message has its place.
 */
export function checkText(request: unknown): void {
  const place = placeOfNoText(request);
  if (place !== undefined) throw new InvalidRequestError(`${place.slice(1)} is no UTF-8`);
}

function placeOfNoText(request: unknown): string | undefined {
  if (typeof request === "string") return isText(request) ? undefined : "";
  if (typeof request !== "object" || request === null || ArrayBuffer.isView(request)) return undefined;
  for (const [name, value] of Object.entries(request)) {
    const place = placeOfNoText(value);
    if (place !== undefined) return (Array.isArray(request) ? `[${name}]` : `.${name}`) + place;
  }
  return undefined;
}
