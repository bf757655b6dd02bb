// What GetUsage answers, made ready for showing. (Numbers of 64 bits come as strings.)

import { HOUR_MS, explainFailure, explainSkip } from "./words.js";

// The counters of an hour, by their names in usage.proto.
export const COUNTERS = [
  "calls",
  "valid_users",
  "valid_adds",
  "valid_removes",
  "invalid_users",
  "invalid_segments",
  "unauth_segments",
  "inactive_segments",
  "other_errors",
];

export const refusals = (hour) =>
  hour.invalid_users + hour.invalid_segments + hour.unauth_segments + hour.inactive_segments;

function readHour(hour) {
  const counters = COUNTERS.map((name) => [name, Number(hour[name])]);
  return { start: Date.parse(hour.hour), match_rate: hour.match_rate, ...Object.fromEntries(counters) };
}

// Why calls failed, and why users and blocks were skipped: words and how many, the most first.
function readReasons(total) {
  const failed = (total.failed_calls ?? []).map((each) => [explainFailure(each.failure), Number(each.calls)]);
  const skipped = (total.skipped_parts ?? []).map((each) => [explainSkip(each.code), Number(each.parts)]);
  return { failed: sorted(failed), skipped: sorted(skipped) };
}

const sorted = (reasons) => reasons.sort(([, one], [, other]) => other - one);

// `hours`: every hour of the span, those without traffic too (all 0), oldest first; `total`: their sum.
export function readUsage(answer, span) {
  const known = new Map((answer.hours ?? []).map(readHour).map((hour) => [hour.start, hour]));
  const total = { ...readHour(answer.total), reasons: readReasons(answer.total) };
  const first = Math.min(total.start - (span - 1) * HOUR_MS, ...known.keys());
  const last = Math.max(total.start, ...known.keys()); // a worker's clock may be ahead
  const hours = [];
  for (let start = first; start <= last; start += HOUR_MS) hours.push(known.get(start) ?? emptyHour(start));
  return { hours, total };
}

function emptyHour(start) {
  return { start, match_rate: null, ...Object.fromEntries(COUNTERS.map((name) => [name, 0])) };
}
