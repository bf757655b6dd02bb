import { create, toBinary } from "@bufbuild/protobuf";
import {
  ApplySegmentsResultSchema,
  RtSegmentSchema,
  SegBlockSchema,
  type ApplySegmentsResult,
  type RtSegment,
  type SegBlock,
  type ApplyWarning,
  WarningCode,
} from "./gen/instantaudience/v1/audience_pb.js";
import { InvalidRequestError } from "./errors.js";
import { type User, isText, textOf } from "./users.js";
import {
  BATCH_USERS,
  BODY_BYTES,
  FRAME_BYTES,
  GETS_PER_SECOND,
  POSTS_PER_SECOND,
  QUOTA_PARTS,
  SEGMENTS_PER_USER,
  USERS_PER_CALL,
  USERS_PER_SECOND,
  WARNINGS_OF_USERS,
} from "./rules.js";

const PLACE = /^rt_segment\[(\d+)\](?:\.seg_block\[(\d+)\])?$/;

/** A member's limits; see `Limits` of catalog.proto. */
export interface Limits {
  readonly usersPerCall: number;
  readonly segmentsPerUser: number;
  readonly bodyBytes: number;
  readonly postsPerSecond: number;
  readonly usersPerSecond: number;
  readonly getsPerSecond: number;
}

/** The service's default limits. */
export const DEFAULT_LIMITS: Limits = {
  usersPerCall: USERS_PER_CALL,
  segmentsPerUser: SEGMENTS_PER_USER,
  bodyBytes: BODY_BYTES,
  postsPerSecond: POSTS_PER_SECOND,
  usersPerSecond: USERS_PER_SECOND,
  getsPerSecond: GETS_PER_SECOND,
};

/** @throws TypeError a limit is below 1, or NaN. */
export function checkLimits(limits: Limits): void {
  for (const [name, limit] of Object.entries(limits)) {
    if (!(limit >= 1)) throw new TypeError(`${name} is ${limit}: a limit is 1 at least`);
  }
}

/**
 * The limits of unary calls. The service refuses one that exceeds what is left of a second, so one that needs all of it
 * would be refused as long as anybody else of the member writes. Requests of streams wait there.
 */
export function ofCalls(limits: Limits): Limits {
  const part = Math.floor(limits.usersPerSecond / Math.max(1, Math.min(QUOTA_PARTS, limits.postsPerSecond)));
  return { ...limits, usersPerCall: Math.max(1, Math.min(limits.usersPerCall, part)) };
}

/** The maximum number of users in a request that reads them. */
export function usersPerRead({ getsPerSecond }: Limits): number {
  return Math.max(1, Math.min(BATCH_USERS, Math.floor(getsPerSecond / QUOTA_PARTS)));
}

/** The limits that requests which read are paced by: each of their users counts. */
export function ofReads(limits: Limits): Limits {
  return { ...limits, postsPerSecond: limits.getsPerSecond, usersPerSecond: limits.getsPerSecond };
}

/** The index of the caller's user, and of the user's first block in a request. */
interface Place {
  readonly user: number;
  readonly firstBlock: number;
}

/** A request. `places` tells where each of its users comes from. */
export interface Part {
  readonly users: RtSegment[];
  readonly places: Place[];
  bytes: number;
  /** Whether the next part has more blocks of the last user. */
  continues: boolean;
}

/** The users that a part changes. */
export function keys(part: Part): Set<string> {
  return new Set(part.users.map(({ domain = "", userId = "" }) => `${domain}\0${userId}`.toLowerCase()));
}

/** Why a request cannot be encoded; undefined if it can. */
export function unreadable(part: Part): InvalidRequestError | undefined {
  const texts = ({ userId, domain, segBlock }: RtSegment): (string | undefined)[] =>
    [userId, domain].concat(segBlock.map(({ segCode }) => segCode));
  const user = part.users.find((each) => !texts(each).every(isText));
  if (user === undefined) return undefined;
  const id = JSON.stringify(user.userId);
  return new InvalidRequestError(`the user ID, domain or a segment's code of user ${id} is no UTF-8`);
}

/** Divides users into parts. */
export class Splitter {
  #part = newPart();
  #count = 0;

  constructor(private readonly limits: Limits) {}

  /** Adds a user; yields the parts that are complete now. */
  *add(user: User): Generator<Part> {
    const index = this.#count++;
    textOf(user.userId);
    for (const [piece, firstBlock] of pieces(create(RtSegmentSchema, user), this.limits)) {
      const bytes = toBinary(RtSegmentSchema, piece).byteLength + FRAME_BYTES;
      const part = this.#part;
      // A request with more than a second may have could never be taken.
      const isFull =
        part.users.length >= Math.min(this.limits.usersPerCall, this.limits.usersPerSecond) ||
        part.bytes + bytes > this.limits.bodyBytes;
      if (part.users.length > 0 && isFull) {
        this.#part = newPart();
        part.continues = part.places.at(-1)?.user === index;
        yield part;
      }
      this.#part.users.push(piece);
      this.#part.places.push({ user: index, firstBlock });
      this.#part.bytes += bytes;
    }
  }

  /** Yields the incomplete part, if there is one. */
  *flush(): Generator<Part> {
    if (this.#part.users.length === 0) return;
    const part = this.#part;
    this.#part = newPart();
    yield part;
  }
}

/** The requests for these users, in order; a single empty one if there are no users. */
export function split(users: Iterable<User>, limits: Limits): Part[] {
  const splitter = new Splitter(limits);
  const parts: Part[] = [];
  for (const user of users) parts.push(...splitter.add(user));
  parts.push(...splitter.flush());
  return parts.length > 0 ? parts : [newPart()];
}

/** Divides users into parts as they arrive, until `isOver`. */
export async function* parts(
  users: Iterable<User> | AsyncIterable<User>,
  splitter: Splitter,
  isOver: () => boolean,
): AsyncGenerator<Part, undefined> {
  for await (const user of users) {
    if (isOver()) return undefined;
    yield* splitter.add(user);
  }
  yield* splitter.flush();
  return undefined;
}

function newPart(): Part {
  return { users: [], places: [], bytes: 0, continues: false };
}

/** The user itself if it fits into a request, else parts of it that do; each with the index of its first block. */
function* pieces(user: RtSegment, limits: Limits): Generator<[RtSegment, number]> {
  const room = limits.bodyBytes - FRAME_BYTES;
  const blocks = user.segBlock;
  if (blocks.length <= limits.segmentsPerUser && toBinary(RtSegmentSchema, user).byteLength <= room) {
    yield [user, 0];
    return;
  }
  const withBlocks = (segBlock: SegBlock[]): RtSegment => ({ ...user, segBlock });
  const bareBytes = toBinary(RtSegmentSchema, withBlocks([])).byteLength;
  let [first, bytes] = [0, bareBytes];
  for (const [index, block] of blocks.entries()) {
    const blockBytes = toBinary(SegBlockSchema, block).byteLength + FRAME_BYTES;
    if (index > first && (index - first >= limits.segmentsPerUser || bytes + blockBytes > room)) {
      yield [withBlocks(blocks.slice(first, index)), first];
      [first, bytes] = [index, bareBytes];
    }
    bytes += blockBytes;
  }
  yield [withBlocks(blocks.slice(first)), first];
}

/**
 * Combines the results of parts: counts are added, and paths refer to the caller's users.
 *
 * A user whose blocks were sent in several requests is counted once, and reported as skipped only if all of it was.
 */
export function joined(parts: readonly Part[], results: readonly ApplySegmentsResult[]): ApplySegmentsResult {
  const [only] = results;
  if (results.length === 1 && only !== undefined && parts[0]?.places.every((place) => place.firstBlock === 0)) {
    move(parts[0], only);
    return only;
  }
  const valid = new Set<number>();
  let [users, segments] = [0, 0];
  for (const [index, result] of results.entries()) {
    users += result.message?.usersInRequest ?? 0;
    segments += result.message?.segmentsInRequest ?? 0;
    const skipped = new Set(result.warnings.filter(isOfUser).map((warning) => placeOf(warning).user));
    for (const [place, { user }] of (parts[index]?.places ?? []).entries()) {
      if (skipped.has(place)) continue;
      if (valid.has(user)) users -= 1;
      valid.add(user);
    }
  }
  const answer = create(ApplySegmentsResultSchema, {
    status: "OK",
    message: { usersInRequest: users, segmentsInRequest: segments },
  });
  answer.warnings = told(parts, results, valid, users);
  return answer;
}

/** The warnings of all parts, without duplicates. */
function told(
  parts: readonly Part[],
  results: readonly ApplySegmentsResult[],
  valid: ReadonlySet<number>,
  users: number,
): ApplyWarning[] {
  const warnings: ApplyWarning[] = [];
  const once = new Set<string>();
  let last: ApplyWarning | undefined;
  for (const [index, result] of results.entries()) {
    const part = parts[index];
    if (part !== undefined) move(part, result);
    for (const warning of result.warnings) {
      if (warning.code === WarningCode.NO_VALID_USERS) {
        last = warning;
        continue;
      }
      const { user, block } = placeOf(warning);
      if (user !== undefined && block === undefined && warning.code !== WarningCode.TOO_MANY_SEGMENTS) {
        const key = `${user} ${warning.code}`;
        if ((isOfUser(warning) && valid.has(user)) || once.has(key)) continue;
        once.add(key);
      }
      warnings.push(warning);
    }
  }
  if (last !== undefined && users === 0) warnings.push(last);
  return warnings;
}

/** Makes the paths in a part's result refer to the caller's users. */
function move(part: Part, result: ApplySegmentsResult): void {
  for (const warning of result.warnings) {
    const { user, block } = placeOf(warning);
    const place = user === undefined ? undefined : part.places[user];
    if (place === undefined) continue;
    const ofBlock = block === undefined ? "" : `.seg_block[${place.firstBlock + block}]`;
    warning.path = `rt_segment[${place.user}]${ofBlock}`;
  }
}

/** Whether a warning means that a whole user was skipped. */
function isOfUser(warning: ApplyWarning): boolean {
  return WARNINGS_OF_USERS.has(warning.code);
}

/** The user and the block that a warning is about. */
function placeOf(warning: ApplyWarning): { user?: number; block?: number } {
  const [, user, block] = PLACE.exec(warning.path) ?? [];
  return {
    ...(user === undefined ? {} : { user: Number(user) }),
    ...(block === undefined ? {} : { block: Number(block) }),
  };
}
