// All members at a glance, for admins: what each sent in the last 24 hours.

import { addressOf } from "./address.js";
import { get } from "./api.js";
import { byId, element, messageRow, setText, showProblem } from "./dom.js";
import { newestOf } from "./loading.js";
import { Pages } from "./pages.js";
import { lastHours } from "./spans.js";
import { readUsage, refusals } from "./usage.js";
import { count, explain, named, percent } from "./words.js";

const PAGE = 25;
const SPAN = lastHours(24);
const COLUMNS = [
  ["Calls applied", (total) => count(total.calls)],
  ["Users", (total) => count(total.valid_users)],
  ["Added", (total) => count(total.valid_adds)],
  ["Removed", (total) => count(total.valid_removes)],
  ["Match rate", (total) => percent(total.match_rate)],
  ["Refused", (total) => count(refusals(total))],
  ["Calls failed", (total) => count(total.other_errors)],
];
const problem = byId("members-problem");
const place = newestOf((error) => showProblem(problem, explain(error)));
const pages = new Pages("members", "members");
const rows = byId("member-rows");
let listed = ""; // whose rows there are

const heads = COLUMNS.map(([name]) => element("th", { scope: "col", class: "number" }, name));
byId("member-heads").replaceChildren(element("th", { scope: "col" }, "Member"), ...heads);

export function show(_member, own, { start = "0" }, members) {
  pages.begin(start, PAGE);
  const shown = members.slice(pages.first, pages.first + PAGE);
  const ids = shown.map(({ id }) => id).join();
  if (ids !== listed) rows.replaceChildren(...shown.map((member) => row(member, own)));
  listed = ids;
  const totals = new Map(); // member → what has come, which is not asked for again where a limit refuses others
  place.load(async (signal) => {
    const missing = shown.filter(({ id }) => !totals.has(id));
    await Promise.all(missing.map(async ({ id }) => totals.set(id, await totalOf(id, signal))));
    showProblem(problem, "");
    if (shown.length) shown.forEach(({ id }, index) => fill(rows.children[index], totals.get(id)));
    else rows.replaceChildren(none());
    pages.show(shown.length, members.length);
  });
}

export function hide() {
  place.stop();
}

export function clear() {
  rows.replaceChildren();
  listed = "";
  pages.clear();
  showProblem(problem, "");
}

async function totalOf(id, signal) {
  const question = { member_id: id, hours: SPAN.hours, without_lines: true };
  return readUsage(await get("console/usage", question, signal), SPAN).total;
}

const none = () => messageRow(COLUMNS.length + 1, "There are fewer members now: go back.");

// Its total is on its way.
function row({ id, name }, own) {
  const address = addressOf("overview", { member: id === own.id ? null : id });
  const link = element("a", { href: address }, named({ name, id }));
  const cells = COLUMNS.map(() => element("td", { class: "number" }, "…"));
  return element("tr", {}, element("th", { scope: "row" }, link), ...cells);
}

// The row stays, and with it the focus of its link.
function fill(row, total) {
  row.querySelectorAll("td").forEach((cell, index) => setText(cell, COLUMNS[index][1](total)));
}
