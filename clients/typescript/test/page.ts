/** What runs in the browser: it does what the test asks for, with the client of browsers, one call after the other. */
import { fromJson, toJson } from "@bufbuild/protobuf";
import { AudienceError, type Client, type StreamResult, createClient } from "instantaudience";
import { ApplySegmentsResultSchema, RtSegmentSchema, UserMembershipsSchema } from "instantaudience/v1/audience";
import type { Answer, Asked, Result, Thrown } from "./browser.js";

async function carriedOut(client: Client, asked: Asked): Promise<Answer> {
  const { deadlineMs, domain, validateOnly } = asked;
  if (asked.call === "memberships") {
    const users = await client.memberships(asked.userIds, { domain, deadlineMs });
    return { users: users.map((user) => toJson(UserMembershipsSchema, user)) };
  }
  const users = asked.users.map((user) => fromJson(RtSegmentSchema, user));
  if (asked.call === "apply") {
    const result = await client.apply(users, { validateOnly, deadlineMs });
    return { results: [written({ firstUser: 0, users: 0, continues: false, result, error: undefined })] };
  }
  const results: Result[] = [];
  for await (const result of client.stream(users, { deadlineMs })) results.push(written(result));
  return { results };
}

function written({ firstUser, users, continues, result, error }: StreamResult): Result {
  return {
    firstUser,
    users,
    continues,
    result: result === undefined ? undefined : toJson(ApplySegmentsResultSchema, result),
    error: error === undefined ? undefined : thrown(error),
  };
}

function thrown(error: unknown): Thrown {
  if (!(error instanceof AudienceError)) return { name: "", message: String(error) };
  const { name, rawMessage, code, reason, requestId } = error;
  return { name, message: rawMessage, code, reason, requestId };
}

for (;;) {
  const asked = (await (await fetch("/asked")).json()) as Asked;
  const client = createClient(asked.options);
  const answer = await carriedOut(client, asked).catch((error: unknown) => ({ thrown: thrown(error) }));
  client.close();
  await fetch("/answer", { method: "POST", body: JSON.stringify(answer) });
}
