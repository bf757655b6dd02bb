// The overview: limits this second, totals, and charts by hour.

import { changeAddress } from "./address.js";
import { get } from "./api.js";
import { UsageChart } from "./charts.js";
import { download } from "./csv.js";
import { announce, byId, element, letPress, mayPress, said, setText, showProblem, termOf } from "./dom.js";
import { newestOf, poll } from "./loading.js";
import { daysAddress, hoursParameter, spanOf } from "./spans.js";
import { COUNTERS, daysOf, readUsage, refusals } from "./usage.js";
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
const save = byId("overview-download"); // not to be pressed while other hours or days are shown than those chosen
const problem = byId("overview-problem");
const failed = new Map(); // part of the view → why it is not up to date
const usage = newestOf((error) => tell("usage", error));
const quotas = newestOf((error) => tell("quotas", error));
const peaks = new Map();
let charts = [];
let member = null;
let asked = {}; // the address's parameters
let times = []; // the hours or days shown
let stops = [];

spans.addEventListener("change", () => {
  const { hours } = said(spans);
  changeAddress("overview", { hours: hoursParameter(hours), day: null });
});
spans.addEventListener("submit", (event) => {
  event.preventDefault();
  loadUsage(true);
});
save.addEventListener("click", () => {
  if (!mayPress(save)) return;
  const rows = times.map((time) => [new Date(time.start).toISOString(), ...COUNTERS.map((name) => time[name]), time.match_rate]);
  const unit = spanOf(asked).isByDay ? "day" : "hour";
  download(`usage-${member.id}-by-${unit}.csv`, [unit, ...COUNTERS, "match_rate"], rows);
});

export function show(shown, _own, parameters) {
  member = shown;
  asked = parameters;
  const span = spanOf(asked);
  for (const choice of spans.elements.hours) choice.checked = choice.value === span.choice;
  letPress(save, false);
  loadUsage(true);
  stops = [poll(USAGE_POLL_MS, () => loadUsage(false), USAGE_POLL_MS), poll(QUOTA_POLL_MS, loadQuotas)];
}

export function hide() {
  for (const stop of stops) stop();
  usage.stop();
  quotas.stop();
}

export function clear() {
  for (const chart of charts) chart.remove();
  charts = [];
  times = [];
  peaks.clear();
  failed.clear();
  for (const id of ["quotas", "totals"]) byId(id).replaceChildren();
  for (const id of ["failed-calls", "skipped-parts"]) showReasons(id, []);
  for (const id of ["overview-download", "overview-partial", "overview-back"]) byId(id).hidden = true;
  showProblem(problem, "");
}

// Both parts of the view have one banner, which stays until both are up to date.
function tell(part, error) {
  if (error) failed.set(part, explain(error));
  else failed.delete(part);
  const [text = ""] = failed.values();
  showProblem(problem, text);
}

function loadUsage(isAsked) {
  const span = spanOf(asked);
  return usage.load(async (signal) => {
    const question = { member_id: member.id, hours: span.hours, without_lines: true };
    const { hours, total } = readUsage(await get("console/usage", question, signal), span);
    times = span.isByDay ? daysOf(hours) : hours;
    tell("usage", null);
    showTotals(total);
    showReasons("failed-calls", total.reasons.failed);
    showReasons("skipped-parts", total.reasons.skipped);
    showCharts(span);
    if (isAsked) announce(`Shown: the ${span.words}.`);
  });
}

function showCharts(span) {
  const unit = span.isByDay ? "day" : "hour";
  byId("charts-unit").textContent = span.choice ? `By ${unit}` : span.words.replace("hours", "Hours");
  byId("overview-partial").textContent = `The shaded ${unit} is not over yet.`;
  byId("overview-partial").hidden = !times.some(({ isPartial }) => isPartial);
  byId("overview-back").hidden = Boolean(span.choice);
  byId("overview-back").href = daysAddress();
  save.hidden = false;
  letPress(save, true);
  charts = charts.length ? charts : CHARTS.map((chart) => new UsageChart(byId("charts"), chart));
  for (const chart of charts) chart.show(times, span);
}

// The tiles stay, with what is selected in them, and say something else.
function showTotals(total) {
  const place = byId("totals");
  if (!place.childElementCount) {
    place.replaceChildren(...TOTALS.map(([name]) => termOf(name, "", { class: "card" })));
  }
  const amounts = place.querySelectorAll("dd");
  TOTALS.forEach(([, of], index) => showAmount(amounts[index], of(total)));
}

// As large as its place allows without breaking (see styles.css).
function showAmount(place, text) {
  setText(place, text);
  place.style.setProperty("--characters", text.length);
}

function showReasons(id, reasons) {
  const rows = reasons.map(([words, number]) => termOf(words, count(number)));
  byId(id).replaceChildren(...rows);
  byId(`${id}-card`).hidden = rows.length === 0;
}

function loadQuotas() {
  return quotas.load(async (signal) => {
    const overview = await get("console/overview", { member_id: member.id }, signal);
    tell("quotas", null);
    const place = byId("quotas");
    if (!place.childElementCount) place.replaceChildren(...QUOTAS.map(([, name]) => quotaCard(name)));
    QUOTAS.forEach(([key, name], index) => showQuota(place.children[index], name, overview[key]));
  });
}

function quotaCard(name) {
  return element(
    "div",
    { class: "card quota" },
    element("p", { class: "quota-name" }, name, element("b", {})),
    element("meter", { min: 0, optimum: 0, "aria-label": name }),
    element("small", {}),
  );
}

function showQuota(card, name, use) {
  const [used, limit] = [Number(use.used), Number(use.limit)];
  const peak = Math.max(used, peaks.get(name) ?? 0);
  peaks.set(name, peak);
  setText(card.querySelector("b"), `${count(used)} of ${count(limit)}`);
  Object.assign(card.querySelector("meter"), { max: limit, high: limit * NEARLY_FULL, value: used });
  setText(card.querySelector("small"), `Most seen since you opened this page: ${count(peak)}`);
}
