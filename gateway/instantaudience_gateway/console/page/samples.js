// The sampled lines of an hour: what was applied, and what was not.

import { addressOf, changeAddress } from "./address.js";
import { get } from "./api.js";
import { announce, byId, element, showProblem } from "./dom.js";
import { newestOf } from "./loading.js";
import { lastHours } from "./spans.js";
import { hasTraffic, readUsage, refusals, wasRefused } from "./usage.js";
import { HOUR_MS, count, explain, explainLine, hourSpan, isoHour } from "./words.js";

const HOURS = 336;
const choice = byId("samples-hour");
const problem = byId("samples-problem");
const hoursPlace = newestOf((error) => showProblem(problem, explain(error)));
const linesPlace = newestOf((error) => showProblem(problem, explain(error)));
let member = null;

choice.addEventListener("change", () => changeAddress("samples", { hour: isoHour(Number(choice.value)) }));

// `hour`: the hour to show, `2026-11-24T20`; by default, the newest one with traffic.
export function show(shown, own, { hour: chosen = "" }) {
  member = shown;
  byId("samples-overview").href = addressOf("overview", { member: member.id === own.id ? null : member.id });
  hoursPlace.load(async (signal) => {
    const answer = await get("console/usage", { member_id: member.id, hours: HOURS, without_lines: true }, signal);
    const all = readUsage(answer, lastHours(HOURS)).hours;
    const hours = all.filter((hour) => hasTraffic(hour) || isoHour(hour.start) === chosen).reverse();
    choice.replaceChildren(...hours.map((hour) => element("option", { value: hour.start }, nameOf(hour))));
    const asked = hours.find((hour) => isoHour(hour.start) === chosen) ?? hours[0];
    if (asked) choice.value = asked.start;
    choice.disabled = hours.length === 0;
    showProblem(problem, "");
    byId("samples-none").hidden = hours.length > 0;
    byId("samples-lines").hidden = hours.length === 0;
    if (hours.length) await loadLines(asked);
  });
}

export function hide() {
  hoursPlace.stop();
  linesPlace.stop();
}

export function clear() {
  showProblem(problem, "");
  choice.replaceChildren();
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
    showLines("error-lines", hour?.error_log_lines, noLines("refused", wasRefused(counted)));
    showLines("segment-lines", hour?.segment_log_lines, noLines("applied", counted.valid_users > 0));
    announce(`Shown: samples of ${hourSpan(start)} UTC.`);
  });
}

const noLines = (what, isCounted) =>
  isCounted
    ? `What was ${what} in this hour has no lines: the overview counts it.`
    : `Nothing was ${what} in this hour.`;

function showLines(id, text, none) {
  const lines = text ? text.split("\n").reverse().map(lineElement) : [element("p", { class: "hint" }, none)];
  byId(id).replaceChildren(...lines);
}

function lineElement(line) {
  const [what, items] = explainLine(line);
  return element("p", {}, element("b", {}, what), items);
}
