// The overview: limits this second, totals, and charts by hour.

import { get } from "./api.js";
import { HourChart } from "./charts.js";
import { announce, byId, element, showProblem } from "./dom.js";
import { newestOf, poll } from "./loading.js";
import { readUsage, refusals } from "./usage.js";
import { count, explain, percent } from "./words.js";

const QUOTA_POLL_MS = 2_000;
const USAGE_POLL_MS = 60_000;
const NEARLY_FULL = 0.8; // the meter changes its colour

const QUOTAS = [
  ["posts", "Write calls"],
  ["users", "Users written"],
  ["gets", "Read calls"],
];

const TOTALS = [
  ["Calls applied", (total) => count(total.calls)],
  ["Users accepted", (total) => count(total.valid_users)],
  ["Memberships added", (total) => count(total.valid_adds)],
  ["Memberships removed", (total) => count(total.valid_removes)],
  ["Match rate", (total) => percent(total.match_rate)],
  ["Refused blocks and IDs", (total) => count(refusals(total))],
  ["Calls failed", (total) => count(total.other_errors)],
];

const series = (label, colour, name) => ({ label, colour, of: (hour) => hour[name] });

const CHARTS = [
  {
    title: "Calls",
    kind: "bar",
    series: [series("Applied", "--series-1", "calls"), series("Failed", "--series-4", "other_errors")],
  },
  {
    title: "Users",
    kind: "bar",
    series: [
      series("Accepted", "--series-1", "valid_users"),
      series("Unknown or suppressed", "--series-3", "invalid_users"),
    ],
  },
  {
    title: "Memberships",
    kind: "bar",
    series: [series("Added", "--series-2", "valid_adds"), series("Removed", "--series-5", "valid_removes")],
  },
  {
    title: "Refusals",
    kind: "bar",
    series: [
      series("No such segment", "--series-4", "invalid_segments"),
      series("Segment not allowed", "--series-5", "unauth_segments"),
      series("Segment inactive", "--series-1", "inactive_segments"),
      series("Unknown or suppressed user", "--series-3", "invalid_users"),
    ],
  },
  { title: "Match rate", kind: "line", isPercent: true, series: [series("Match rate", "--series-2", "match_rate")] },
];

const spans = byId("spans");
const problem = byId("overview-problem");
const quotaProblem = byId("quotas-problem");
const usage = newestOf((error) => showProblem(problem, explain(error)));
const quotas = newestOf((error) => showProblem(quotaProblem, explain(error)));
const peaks = new Map();
let charts = [];
let member = null;
let stops = [];

const chosenHours = () => Number(new FormData(spans).get("hours"));

spans.addEventListener("change", () => loadUsage(true));
spans.addEventListener("submit", (event) => {
  event.preventDefault();
  loadUsage(true);
});

export function show(shown) {
  member = shown;
  stops = [poll(USAGE_POLL_MS, () => loadUsage(false)), poll(QUOTA_POLL_MS, loadQuotas)];
}

export function hide() {
  for (const stop of stops) stop();
  usage.stop();
  quotas.stop();
}

export function clear() {
  for (const chart of charts) chart.remove();
  charts = [];
  peaks.clear();
  for (const id of ["quotas", "totals"]) byId(id).replaceChildren();
  for (const id of ["failed-calls", "skipped-parts"]) showReasons(id, []);
  for (const place of [problem, quotaProblem]) showProblem(place, "");
}

function loadUsage(isAsked) {
  const hours = chosenHours();
  return usage.load(async (signal) => {
    const answer = await get("console/usage", { member_id: member.id, hours, without_lines: true }, signal);
    const read = readUsage(answer, hours);
    showProblem(problem, "");
    showTotals(read.total);
    showReasons("failed-calls", read.total.reasons.failed);
    showReasons("skipped-parts", read.total.reasons.skipped);
    charts = charts.length ? charts : CHARTS.map((chart) => new HourChart(byId("charts"), chart));
    for (const chart of charts) chart.show(read.hours);
    if (isAsked) announce(`Shown: the last ${hours} hours.`);
  });
}

function showTotals(total) {
  const tiles = TOTALS.map(([name, of]) =>
    element("div", { class: "card" }, element("dt", {}, name), element("dd", {}, of(total))),
  );
  byId("totals").replaceChildren(...tiles);
}

function showReasons(id, reasons) {
  const rows = reasons.map(([words, number]) =>
    element("div", {}, element("dt", {}, words), element("dd", {}, count(number))),
  );
  byId(id).replaceChildren(...rows);
  byId(`${id}-card`).hidden = rows.length === 0;
}

function loadQuotas() {
  return quotas.load(async (signal) => {
    const overview = await get("console/overview", { member_id: member.id }, signal);
    showProblem(quotaProblem, "");
    byId("quotas").replaceChildren(...QUOTAS.map(([key, name]) => quotaCard(name, overview[key])));
  });
}

function quotaCard(name, use) {
  const [used, limit] = [Number(use.used), Number(use.limit)];
  const peak = Math.max(used, peaks.get(name) ?? 0);
  peaks.set(name, peak);
  const range = { min: 0, max: limit, high: limit * NEARLY_FULL, optimum: 0 };
  const meter = element("meter", { ...range, value: used, "aria-label": name });
  return element(
    "div",
    { class: "card quota" },
    element("p", { class: "quota-name" }, name, element("b", {}, `${count(used)} of ${count(limit)}`)),
    meter,
    element("small", {}, `Most seen since you opened this page: ${count(peak)}`),
  );
}
