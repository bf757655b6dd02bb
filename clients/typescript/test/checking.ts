/** Whether what a client does is what a case expects. */
import { type JsonObject, fromJson, toJson } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import * as instantaudience from "instantaudience";
import {
  type ApplySegmentsResult,
  AudienceError,
  type Client,
  type ClientOptions,
  type StreamResult,
  type User,
  WarningCode,
} from "instantaudience";
import { MembershipSchema, RtSegmentSchema, type UserMemberships } from "instantaudience/v1/audience";
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import type { Case, Expected, ExpectedError, Step, WrittenUser } from "./cases.js";
import { meant } from "./cases.js";
import { told } from "./surroundings.js";

/** What cases call. */
export type Calls = Pick<Client, "apply" | "stream" | "memberships">;

/** What a case's client is made of. */
export function optionsOf(one: Case): ClientOptions {
  const [username, password] = [told("USERNAME"), told("PASSWORD")];
  const privateKey = readFileSync(told("KEY_FILE"), "utf8");
  const credentials = {
    "key pair": { username, keyName: told("KEY_NAME"), privateKey },
    password: { username, password },
    "wrong password": { username: "private", password: "wrong" },
    token: { token: told("TOKEN") },
    "unknown token": { token: "hbapi:1001:0:0" },
    "wrong key": { username, keyName: "unknown", privateKey },
  }[one.credentials ?? "key pair"];
  assert.ok(credentials !== undefined, `unknown credentials ${one.credentials}`);
  const { first_ms: firstMs = 10, most_ms: mostMs = 100, attempt_ms: attemptMs = 10_000 } = one.retries ?? {};
  return {
    endpoint: told(one.faults === undefined ? "GRPC" : "FAULTS"),
    credentials,
    plaintext: true,
    retries: { firstMs, mostMs, attemptMs },
    ...(one.limits === undefined ? {} : { limits: camelCased(one.limits) }),
  };
}

function camelCased(limits: Readonly<Record<string, number>>): Record<string, number> {
  const name = (snake: string): string => snake.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
  return Object.fromEntries(Object.entries(limits).map(([snake, number]) => [name(snake), number]));
}

/** Does a step, and looks whether what it leads to is what is expected. */
export async function checkStep(client: Calls, step: Step): Promise<void> {
  const { expect } = step;
  const wanted = expect.error;
  if (wanted !== undefined) {
    const isClosed = step.closed_after_ms !== undefined;
    await assert.rejects(call(client, step), (error) => checkError(error, wanted, isClosed));
    return;
  }
  const answer = await call(client, step);
  if (answer.users !== undefined) checkUsers(answer.users, meant(expect.users ?? []));
  else checkResults(answer.results, expect);
}

type Answer = { users: UserMemberships[] } | { users?: undefined; results: StreamResult[] };

async function call(client: Calls, step: Step): Promise<Answer> {
  const { deadline_ms: deadlineMs = 30_000, domain = "", validate_only: validateOnly = false } = step;
  if (step.call === "memberships") {
    const ids = meant(step.user_ids ?? []).map((user) => user.user_id);
    return { users: await client.memberships(ids, { domain, deadlineMs }) };
  }
  const written = step.users ?? [];
  if (step.call === "apply") {
    const result = await client.apply(usersOf(written), { validateOnly, deadlineMs });
    return { results: [{ firstUser: 0, users: 0, continues: false, result, error: undefined }] };
  }
  return { results: await stream(client, written, deadlineMs) };
}

/** Streams users, at once or, where some come later, as they come. */
async function stream(client: Calls, written: readonly WrittenUser[], deadlineMs: number): Promise<StreamResult[]> {
  const results: StreamResult[] = [];
  let tell = (): void => undefined;
  async function* asTheyCome(): AsyncGenerator<User> {
    for (const each of written) {
      while (results.length < (each.after_results ?? 0)) {
        await new Promise<void>((resolve) => {
          tell = resolve;
        });
      }
      yield* usersOf([each]);
    }
  }
  const areSlow = written.some((each) => each.after_results !== undefined);
  for await (const result of client.stream(areSlow ? asTheyCome() : usersOf(written), { deadlineMs })) {
    results.push(result);
    tell();
  }
  return results;
}

function usersOf(written: readonly WrittenUser[]): User[] {
  return meant(written).map((user) => fromJson(RtSegmentSchema, user as unknown as JsonObject));
}

function checkResults(results: StreamResult[], expect: Expected): void {
  const applied = results.flatMap(({ result }) => result ?? []);
  const sum = (count: (result: ApplySegmentsResult) => number | undefined): number =>
    applied.reduce((total, result) => total + (count(result) ?? 0), 0);
  assert.equal(
    sum(({ message }) => message?.usersInRequest),
    expect.users_in_request,
  );
  assert.equal(
    sum(({ message }) => message?.segmentsInRequest),
    expect.segments_in_request,
  );
  const warnings = applied.flatMap((result) => result.warnings);
  if (expect.warnings !== undefined) {
    const words = warnings.map(({ path, code, message }) => ({ path, code: WarningCode[code], message }));
    assert.deepEqual(
      words.map((word, index) => ({ ...word, ...expect.warnings?.[index] })),
      words,
    );
    assert.equal(words.length, expect.warnings.length);
  }
  assert.equal(warnings.length, expect.warning_count ?? warnings.length);
  if (expect.results !== undefined) {
    assert.deepEqual(
      results.map(({ firstUser, users }) => [firstUser, users]),
      expect.results,
    );
    assert.deepEqual(
      results.flatMap(({ continues }, index) => (continues ? [index] : [])),
      expect.continued ?? [],
    );
  }
  const errors = results.flatMap(({ error }) => error ?? []);
  const wanted = expect.errors ?? [];
  assert.equal(errors.length, wanted.length, errors.join("\n"));
  for (const [index, each] of wanted.entries()) checkError(errors[index], each);
}

function checkError(error: unknown, expected: ExpectedError, isClosed = false): true {
  assert.ok(error instanceof AudienceError, String(error));
  assert.equal(error.name, `${expected.kind}Error`);
  assert.equal(Object.entries(instantaudience).find(([, kind]) => error.constructor === kind)?.[0], error.name);
  const code = Code[error.code].replace(/(?<=.)([A-Z])/g, "_$1").toUpperCase();
  assert.equal(code, expected.code ?? code);
  assert.equal(error.reason, expected.reason ?? error.reason);
  assert.ok(error.requestId !== "" || expected.kind === "DeadlineExceeded" || isClosed);
  return true;
}

function checkUsers(users: UserMemberships[], expected: WrittenUser[]): void {
  assert.deepEqual(
    users.map(({ userId, domain = "" }) => [userId, domain]),
    expected.map(({ user_id, domain = "" }) => [user_id, domain]),
  );
  for (const [index, user] of users.entries()) {
    const stands = user.segBlock.map((membership) => json(membership));
    const wanted = expected[index]?.seg_block ?? [];
    assert.equal(stands.length, wanted.length);
    assert.deepEqual(
      stands.map((fields, place) => ({ ...fields, ...wanted[place] })),
      stands,
    );
  }
}

function json(membership: UserMemberships["segBlock"][number]): object {
  return toJson(MembershipSchema, membership, { useProtoFieldName: true, alwaysEmitImplicit: true }) as object;
}
