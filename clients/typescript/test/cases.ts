/** Cases that clients in every language have to pass; clients/conformance/README.md says what they mean. */
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

export interface Retries {
  readonly first_ms: number;
  readonly most_ms: number;
  readonly attempt_ms: number;
}

export interface WrittenBlock {
  readonly value?: number | "i";
  readonly times?: number;
}

export interface WrittenUser {
  readonly user_id: string;
  readonly domain?: string;
  readonly seg_block?: readonly WrittenBlock[];
  readonly times?: number;
  readonly distinct?: number;
  readonly after_results?: number;
}

export interface ExpectedError {
  readonly kind: string;
  readonly code?: string;
  readonly reason?: string;
}

export interface Expected {
  readonly users_in_request?: number;
  readonly segments_in_request?: number;
  readonly warnings?: readonly Readonly<Record<string, string>>[];
  readonly warning_count?: number;
  readonly results?: readonly (readonly [number, number])[];
  readonly continued?: readonly number[];
  readonly errors?: readonly ExpectedError[];
  readonly users?: readonly WrittenUser[];
  readonly error?: ExpectedError;
}

export interface Step {
  readonly call: "apply" | "stream" | "memberships";
  readonly users?: readonly WrittenUser[];
  readonly user_ids?: readonly (string | WrittenUser)[];
  readonly domain?: string;
  readonly validate_only?: boolean;
  readonly deadline_ms?: number;
  readonly expect: Expected;
  readonly at_least_ms?: number;
  readonly closed_after_ms?: number;
}

export interface Case {
  readonly file: string;
  readonly name: string;
  readonly credentials?: string;
  readonly limits?: Readonly<Record<string, number>>;
  readonly retries?: Partial<Retries>;
  readonly faults?: readonly object[];
  readonly steps: readonly Step[];
  readonly seen?: Readonly<Record<string, number>>;
  readonly wait?: boolean;
  readonly endpoints?: readonly string[];
  readonly refused_endpoints?: readonly string[];
}

/** The keys that cases, steps and expectations may have; another one is an error: the runner does not know it. */
const WORDS = {
  case: [
    ...["name", "credentials", "limits", "retries", "faults", "steps", "seen", "wait"],
    ...["endpoints", "refused_endpoints"],
  ],
  step: [
    "call",
    "users",
    "user_ids",
    "domain",
    "validate_only",
    "deadline_ms",
    "expect",
    "at_least_ms",
    "closed_after_ms",
  ],
  expect: [
    ...["users_in_request", "segments_in_request", "warnings", "warning_count"],
    ...["results", "continued", "errors", "users", "error"],
  ],
};

/** All cases of a directory. */
export function cases(directory: string): Case[] {
  const files = readdirSync(directory).filter((name) => name.endsWith(".json"));
  return files.sort().flatMap((file) => {
    const written = JSON.parse(readFileSync(join(directory, file), "utf8")) as { cases: Omit<Case, "file">[] };
    return written.cases.map((one) => {
      check(one, "case");
      for (const step of one.steps) {
        check(step, "step");
        check(step.expect, "expect");
      }
      return { ...one, file: file.replace(/\.json$/, "") };
    });
  });
}

function check(written: object, kind: keyof typeof WORDS): void {
  const unknown = Object.keys(written).filter((word) => !WORDS[kind].includes(word));
  if (unknown.length > 0) throw new Error(`a ${kind} says what this runner does not know: ${unknown.join(", ")}`);
}

/** Users as they are meant, in JSON: each as often as `times` says. */
export function meant(written: readonly (string | WrittenUser)[]): WrittenUser[] {
  return written.flatMap((user) => {
    if (typeof user === "string") return [{ user_id: user }];
    const { times = 1, distinct = times, after_results: _, seg_block, ...template } = user;
    return Array.from({ length: times }, (_, i) => ({
      ...template,
      user_id: times > 1 ? String(BigInt(user.user_id) + BigInt(i % distinct)) : user.user_id,
      ...(seg_block === undefined ? {} : { seg_block: seg_block.flatMap((block) => blocks(block, i)) }),
    }));
  });
}

function blocks({ times = 1, ...template }: WrittenBlock, i: number): WrittenBlock[] {
  const numbers = times > 1 ? Array.from({ length: times }, (_, number) => number) : [i];
  return numbers.map((number) => (template.value === "i" ? { ...template, value: number } : template));
}
