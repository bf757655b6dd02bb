// The member's segments, a page at a time.

import { changeAddress } from "./address.js";
import { get, isAbort } from "./api.js";
import { download } from "./csv.js";
import { announce, byId, element, keepFocus, messageRow, said, say, showProblem, whileBusy } from "./dom.js";
import { newestOf, withinLimits } from "./loading.js";
import { Pages } from "./pages.js";
import { closeForm, openForm, whenSegmentFails, whenSegmentSaved } from "./segment_form.js";
import { apart, count, explain, lifetime } from "./words.js";

export { resume, typed } from "./segment_form.js";

const PAGE = 25;
const LARGEST_PAGE = 100;
const KNOWN_MS = 1_500; // until then, a worker may not know of a change yet: it takes a second (docs/api.md)
const FIRST_ORDER = "id.asc";

// A column's name, the field that it is sorted by ("": none), and how it is shown. (source: docs/api.md, "Lists")
const COLUMNS = [
  ["Segment", "short_name", titleCell],
  ["ID", "id", ({ id }) => element("td", { class: "number" }, String(id))],
  ["Users", "", ({ estimated_users: users }) => element("td", { class: "number" }, users === undefined ? "–" : count(users))],
  ["Membership lasts", "expire_minutes", ({ expire_minutes: minutes }) => element("td", {}, lifetime(minutes))],
  ["Changed (UTC)", "last_modified", ({ last_modified: time }) => element("td", { class: "time" }, time.slice(0, 16))],
  ["Change", "", editCell],
];
const NUMBERS = ["ID", "Users"];
const FILE_FIELDS = ["id", "code", "short_name", "state", "expire_minutes", "last_modified", "estimated_users"];

const problem = byId("segments-problem");
const place = newestOf((error) => showProblem(problem, explain(error)));
const form = byId("segment-search");
const pages = new Pages("segments", "segments");
const heads = COLUMNS.map(headCell);
let isShown = false;
let savedAt = -KNOWN_MS;
let reload = 0;
let member = null;
let asked = {};
let downloading = new AbortController();

byId("segment-heads").replaceChildren(...heads);

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const { search, ...others } = said(form);
  change({ search: search.trim(), ...others, start: null });
});
for (const id of ["segment-state", "segment-size"]) byId(id).addEventListener("change", () => form.requestSubmit());
byId("segments-download").addEventListener("click", (event) => whileBusy(event.target, downloadAll));

byId("segment-new").addEventListener("click", () => openForm(null, member));
whenSegmentSaved(({ id }) => {
  if (!isShown) return;
  announce(`Segment ${id} is saved.`);
  savedAt = performance.now();
  load(false);
});
whenSegmentFails((text) => isShown && showProblem(problem, text));

export function show(shown, _own, { search = "", state = "", size = "", sort = FIRST_ORDER, start = "0" }) {
  isShown = true;
  member = shown;
  say(form, { search, state, size });
  // An address that is written by hand may say what is no choice.
  for (const choice of form.querySelectorAll("select")) choice.selectedIndex = Math.max(0, choice.selectedIndex);
  const chosen = said(form);
  asked = { search, state: chosen.state, sort };
  pages.begin(start, Number(chosen.size) || PAGE);
  showOrder();
  load(true);
}

export function hide() {
  isShown = false;
  closeForm();
  clearTimeout(reload);
  place.stop();
}

export function clear() {
  downloading.abort();
  form.reset();
  byId("segment-rows").replaceChildren();
  pages.clear();
  showProblem(problem, "");
}

const change = (changes) => changeAddress("segments", changes);

// What the view shows, for as many answers as are asked for.
function question() {
  const { search, state, sort } = asked;
  return { member_id: member.id, sort, ...(search && { search }), ...(state && { state }) };
}

const ask = (whose, first, size, signal) =>
  get("segment", { ...whose, start_element: first, num_elements: size }, signal);

function load(isAsked) {
  clearTimeout(reload);
  const left = savedAt + KNOWN_MS - performance.now();
  if (left > 0) reload = setTimeout(() => load(false), left);
  return place.load(async (signal) => {
    const { response } = await ask(question(), pages.first, pages.size, signal);
    showProblem(problem, "");
    const segments = response.segments ?? [];
    showRows(segments);
    const text = pages.show(segments.length, response.count);
    if (isAsked) announce(text ? `Segments ${text}.` : "No segment found.");
  });
}

// Whoever edits by the keyboard goes on at the same button; where its segment is shown no more, at the view's beginning.
function showRows(segments) {
  const rows = byId("segment-rows");
  const makeAnew = () => rows.replaceChildren(...(segments.length ? segments.map(row) : [emptyRow()]));
  keepFocus(rows, makeAnew, () => byId("segments-title"));
}

// All that fit, not only the page; what is looked for meanwhile is another question.
async function downloadAll() {
  const { signal } = (downloading = new AbortController());
  const found = [];
  const whose = question();
  try {
    let answer;
    do {
      answer = (await withinLimits(() => ask(whose, found.length, LARGEST_PAGE, signal))).response;
      found.push(...(answer.segments ?? []));
    } while (answer.segments?.length && found.length < answer.count);
  } catch (error) {
    if (!isAbort(error)) showProblem(problem, explain(error));
    return;
  }
  const rows = found.map((segment) => FILE_FIELDS.map((field) => segment[field]));
  download(`segments-${whose.member_id}.csv`, FILE_FIELDS, rows);
}

// A press sorts by the column; another one turns the order round.
function headCell([name, field]) {
  const kind = NUMBERS.includes(name) ? "number" : "";
  if (!field) return element("th", { scope: "col", class: kind }, name);
  const button = element("button", { type: "button", class: "sort" }, name);
  button.addEventListener("click", () => {
    const sort = asked.sort === `${field}.asc` ? `${field}.desc` : `${field}.asc`;
    change({ sort: sort === FIRST_ORDER ? null : sort, start: null });
  });
  return element("th", { scope: "col", class: kind }, button);
}

function showOrder() {
  COLUMNS.forEach(([, field], index) => {
    const order = { [`${field}.asc`]: "ascending", [`${field}.desc`]: "descending" }[asked.sort] ?? "none";
    if (field) heads[index].setAttribute("aria-sort", order);
  });
}

const row = (segment) => element("tr", {}, ...COLUMNS.map(([, , cell]) => cell(segment)));

function titleCell({ id, code, short_name: name, state }) {
  const title = [apart(name || code || `Segment ${id}`)];
  if (state !== "active") title.push(" ", element("span", { class: "badge" }, state));
  if (name && code) title.push(element("span", { class: "code" }, apart(code)));
  return element("th", { scope: "row" }, ...title);
}

// Its button stays while its row is made anew: a form that is open meanwhile gives the focus back to it.
function editCell(segment) {
  const name = `Edit segment ${segment.id}`;
  const button =
    byId("segment-rows").querySelector(`[aria-label="${name}"]`) ??
    element("button", { type: "button", class: "quiet small", "aria-label": name }, "Edit");
  button.onclick = () => openForm(segment, member);
  return element("td", {}, button);
}

function emptyRow() {
  const { search, state } = asked;
  const kind = state ? `${state} segment` : "segment";
  let text = state ? `This member has no ${kind}s.` : "This member has no segments yet.";
  if (search) text = `No ${kind}'s code, name or ID is or holds “${search}”.`;
  if (pages.first) text = "There are fewer segments now: go back.";
  return messageRow(COLUMNS.length, text);
}
