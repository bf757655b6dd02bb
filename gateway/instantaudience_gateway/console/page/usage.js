// What GetUsage answers, made ready for showing. (Numbers of 64 bits come as strings.)

import { HOUR_MS, dayOf, explainFailure, explainSkip } from "./words.js";

// The counters of an hour (a day's are their sums), by their names in usage.proto.
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

const none = Object.fromEntries([...COUNTERS, "skipped"].map((name) => [name, 0]));
const nothing = (start) => ({ start, match_rate: null, ...none });

function readHour(hour) {
  const counters = COUNTERS.map((name) => [name, Number(hour[name] ?? 0)]);
  const skipped = (hour.skipped_parts ?? []).reduce((sum, { parts }) => sum + Number(parts), 0);
  const read = { start: Date.parse(hour.hour), skipped, ...Object.fromEntries(counters) };
  return { ...read, match_rate: matchRate(read) };
}

// In percent, with one decimal, as reports have it; null where there were no users.
function matchRate({ valid_users: valid, invalid_users: invalid }) {
  return valid + invalid ? Number(((100 * valid) / (valid + invalid)).toFixed(1)) : null;
}

// Why calls failed, or why users and blocks were skipped: words and how many, the most first.
function sumReasons(each, explain) {
  const sums = new Map();
  for (const [name, number] of each) sums.set(name, (sums.get(name) ?? 0) + Number(number));
  return [...sums].map(([name, sum]) => [explain(name), sum]).sort(([, one], [, other]) => other - one);
}

function readReasons(answered) {
  const failed = answered.flatMap((hour) => hour.failed_calls ?? []).map(({ failure, calls }) => [failure, calls]);
  const skipped = answered.flatMap((hour) => hour.skipped_parts ?? []).map(({ code, parts }) => [code, parts]);
  return { failed: sumReasons(failed, explainFailure), skipped: sumReasons(skipped, explainSkip) };
}

function sum(times, start) {
  const total = nothing(start);
  for (const time of times) for (const name of COUNTERS) total[name] += time[name];
  return { ...total, match_rate: matchRate(total), isPartial: times.some(({ isPartial }) => isPartial) };
}

// The hours of a span (see spans.js), those without traffic too (all 0), oldest first, and their sum.
export function readUsage(answer, span) {
  const running = Date.parse(answer.total.hour);
  const { first, end } = span.boundsOf(running);
  const answered = (answer.hours ?? []).filter(({ hour }) => first <= Date.parse(hour) && Date.parse(hour) < end);
  const known = new Map(answered.map(readHour).map((hour) => [hour.start, hour]));
  const last = Math.min(end - HOUR_MS, Math.max(running, ...known.keys())); // a worker's clock may be ahead
  const hours = [];
  for (let start = first; start <= last; start += HOUR_MS) {
    hours.push({ ...(known.get(start) ?? nothing(start)), isPartial: start >= running });
  }
  return { hours, total: { ...sum(hours, first), reasons: readReasons(answered) } };
}

// The days (UTC) of hours.
export function daysOf(hours) {
  const starts = new Set(hours.map(({ start }) => dayOf(start)));
  return [...starts].map((day) => sum(hours.filter(({ start }) => dayOf(start) === day), day));
}

// Whether there was something that was not applied: calls, users or blocks.
export const wasRefused = (hour) => refusals(hour) + hour.skipped + hour.other_errors > 0;

export const hasTraffic = (time) => time.calls + time.other_errors + refusals(time) > 0;
