// The sampled entries of an hour, a page at a time: what was applied, and what was not.

import { addressOf, changeAddress } from "./address.js";
import { get } from "./api.js";
import { announce, byId, element, messageRow, said, say, showProblem } from "./dom.js";
import { newestOf } from "./loading.js";
import { Pages } from "./pages.js";
import { entriesOf } from "./sampled.js";
import { lastHours } from "./spans.js";
import { hasTraffic, readUsage, refusals, wasRefused } from "./usage.js";
import { HOUR_MS, apart, count, explain, hourSpan, isoHour } from "./words.js";

const HOURS = 336;
const PAGE = 25;
const COLLATOR = new Intl.Collator("en", { numeric: true });

// A column's name, the field that it is sorted by ("": none), how it is shown, and its class.
const COLUMNS = [
  ["Time (UTC)", "", timeCell, "time"],
  ["User", "user", userCell],
  ["Segment", "segment", segmentCell],
  ["Minutes", "minutes", minutesCell, "number"],
  ["Result", "result", resultCell],
];
const FIELDS = COLUMNS.map(([, field]) => field).filter(Boolean);

const choice = byId("samples-hour");
const problem = byId("samples-problem");
const hoursPlace = newestOf((error) => showProblem(problem, explain(error)));
const linesPlace = newestOf((error) => showProblem(problem, explain(error)));
const form = byId("sample-search");
const pages = new Pages("samples", "samples");
const heads = COLUMNS.map(headCell);
let member = null;
let asked = {};

byId("sample-heads").replaceChildren(...heads);

choice.addEventListener("change", () => change({ hour: isoHour(Number(choice.value)), start: null }));
form.addEventListener("submit", (event) => {
  event.preventDefault();
  const { search, ...others } = said(form);
  change({ search: search.trim(), ...others, start: null });
});
for (const id of ["sample-result", "sample-size"]) byId(id).addEventListener("change", () => form.requestSubmit());

const change = (changes) => changeAddress("samples", changes);

// `hour`: the hour to show, `2026-11-24T20`; by default, the newest one with traffic.
export function show(shown, own, { hour: chosen = "", search = "", result = "", size = "", sort = "", start = "0" }) {
  member = shown;
  say(form, { search, result, size });
  // An address that is written by hand may say what is no choice.
  for (const each of form.querySelectorAll("select")) each.selectedIndex = Math.max(0, each.selectedIndex);
  const { result: outcome, size: length } = said(form);
  asked = { search, outcome, sort };
  pages.begin(start, Number(length) || PAGE);
  showOrder();
  byId("samples-overview").href = addressOf("overview", { member: member.id === own.id ? null : member.id });
  hoursPlace.load(async (signal) => {
    const answer = await get("console/usage", { member_id: member.id, hours: HOURS, without_lines: true }, signal);
    const all = readUsage(answer, lastHours(HOURS)).hours;
    const hours = all.filter((hour) => hasTraffic(hour) || isoHour(hour.start) === chosen).reverse();
    choice.replaceChildren(...hours.map((hour) => element("option", { value: hour.start }, nameOf(hour))));
    const wanted = hours.find((hour) => isoHour(hour.start) === chosen) ?? hours[0];
    if (wanted) choice.value = wanted.start;
    choice.disabled = hours.length === 0;
    showProblem(problem, "");
    byId("samples-none").hidden = hours.length > 0;
    byId("samples-lines").hidden = hours.length === 0;
    if (hours.length) await loadLines(wanted);
  });
}

export function hide() {
  hoursPlace.stop();
  linesPlace.stop();
}

export function clear() {
  showProblem(problem, "");
  choice.replaceChildren();
  form.reset();
  byId("sample-rows").replaceChildren();
  pages.clear();
  for (const id of ["samples-none", "samples-lines"]) byId(id).hidden = true;
}

function nameOf(hour) {
  const refused = refusals(hour);
  const running = hour.isPartial ? ", so far" : "";
  return `${hourSpan(hour.start)}${running}: ${count(hour.calls)} calls` + (refused ? `, ${count(refused)} refused` : "");
}

// A time as reports take it (source: contract, "GET /rt-segment-processed").
const reportTime = (ms) => new Date(ms).toISOString().slice(0, 19).replace("T", " ");

// The lines of an hour. What the checks skip and calls that fail are counted, and have none.
function loadLines(counted) {
  const { start } = counted;
  const span = { start: reportTime(start), end: reportTime(start + HOUR_MS) };
  return linesPlace.load(async (signal) => {
    const { response } = await get("rt-segment-processed", { member_id: member.id, ...span }, signal);
    const [hour] = response.report;
    showProblem(problem, "");
    const entries = [...entriesOf(hour?.error_log_lines, false), ...entriesOf(hour?.segment_log_lines, true)];
    const found = inOrder(entries.filter(isAskedFor));
    const rows = found.slice(pages.first, pages.first + pages.size).map((entry) => row(start, entry));
    const none = entries.length ? "No entry of this hour is like that." : reasonForNone(counted);
    if (found.length && rows.length === 0) rows.push(messageRow(COLUMNS.length, "There are fewer entries: go back."));
    byId("sample-rows").replaceChildren(...(rows.length ? rows : [messageRow(COLUMNS.length, none)]));
    const text = pages.show(Math.min(pages.size, Math.max(0, found.length - pages.first)), found.length);
    announce(`Shown: samples of ${hourSpan(start)} UTC${text && `, ${text}`}.`);
  });
}

const reasonForNone = (counted) =>
  wasRefused(counted) || counted.valid_users > 0
    ? "This hour has no samples: the overview counts what was sent."
    : "Nothing was applied or refused in this hour.";

function isAskedFor({ user, segment, code, applied, result }) {
  const { search, outcome } = asked;
  if (outcome && applied !== (outcome === "applied")) return false;
  const text = search.toLowerCase();
  return !text || [user, segment, code, result].some((field) => field.toLowerCase().includes(text));
}

// Numbers by their size, also those that are longer than a double holds; entries without the field come last.
function inOrder(entries) {
  const [field, direction] = asked.sort.split(".");
  if (!FIELDS.includes(field)) return entries;
  const sign = direction === "desc" ? -1 : 1;
  const isNone = (entry) => entry[field] === "" || entry[field] === null;
  return entries.sort((one, other) => {
    if (isNone(one) || isNone(other)) return isNone(one) - isNone(other);
    return sign * COLLATOR.compare(String(one[field]), String(other[field]));
  });
}

// A press sorts by the column, another one turns the order round, and a third is back at the newest first.
function headCell([name, field, , kind = ""]) {
  if (!field) return element("th", { scope: "col", class: kind }, name);
  const button = element("button", { type: "button", class: "sort" }, name);
  button.addEventListener("click", () => {
    const next = { [`${field}.asc`]: `${field}.desc`, [`${field}.desc`]: null };
    change({ sort: asked.sort in next ? next[asked.sort] : `${field}.asc`, start: null });
  });
  return element("th", { scope: "col", class: kind }, button);
}

function showOrder() {
  COLUMNS.forEach(([, field], index) => {
    const order = { [`${field}.asc`]: "ascending", [`${field}.desc`]: "descending" }[asked.sort] ?? "none";
    if (field) heads[index].setAttribute("aria-sort", order);
  });
}

const row = (start, entry) => element("tr", {}, ...COLUMNS.map(([, , cell]) => cell(entry, start)));

function timeCell(_, start) {
  return element("td", { class: "time" }, reportTime(start).slice(0, 16));
}

function userCell({ user }) {
  return element("td", { class: "user" }, user ? apart(user) : "–");
}

function segmentCell({ segment, code, owner }) {
  const shown = [segment || (code ? "" : "–")];
  if (code) shown.push(" ", element("span", { class: "code", title: code }, apart(code)));
  if (owner && Number(owner) !== member.id) shown.push(" ", element("span", { class: "code" }, `of member ${owner}`));
  return element("td", {}, ...shown);
}

function minutesCell({ minutes, result }) {
  const isAdded = result === "Added" && minutes !== null;
  return element("td", { class: "number" }, isAdded ? (minutes === 0 ? "for ever" : count(minutes)) : "–");
}

function resultCell({ result, applied, raw }) {
  return element("td", { class: `result${applied ? "" : " refused"}${raw ? " raw" : ""}` }, apart(result));
}
