// The member's segments, a page at a time.

import { get } from "./api.js";
import { announce, byId, element, showProblem } from "./dom.js";
import { newestOf } from "./loading.js";
import { count, explain } from "./words.js";

const PAGE = 25;
const problem = byId("segments-problem");
const place = newestOf((error) => showProblem(problem, explain(error)));
const back = byId("segments-back");
const on = byId("segments-on");
let member = null;
let first = 0;

byId("segment-search").addEventListener("submit", (event) => {
  event.preventDefault();
  first = 0;
  load(true);
});
back.addEventListener("click", () => turn(-PAGE));
on.addEventListener("click", () => turn(PAGE));

export function show(shown) {
  member = shown;
  load(false);
}

export function hide() {
  place.stop();
}

export function clear() {
  first = 0;
  byId("segment-search").reset();
  byId("segment-rows").replaceChildren();
  byId("segments-place").textContent = "";
  showProblem(problem, "");
}

function turn(by) {
  first = Math.max(0, first + by);
  load(true);
}

function load(isAsked) {
  const search = byId("segment-text").value.trim();
  return place.load(async (signal) => {
    const parameters = { member_id: member.id, start_element: first, num_elements: PAGE, ...(search && { search }) };
    const { response } = await get("segment", parameters, signal);
    showProblem(problem, "");
    const segments = response.segments ?? [];
    byId("segment-rows").replaceChildren(...(segments.length ? segments.map(row) : [emptyRow(search)]));
    const last = first + segments.length;
    const text = segments.length ? `${count(first + 1)}–${count(last)} of ${count(response.count)}` : "";
    byId("segments-place").textContent = text;
    back.disabled = first === 0;
    on.disabled = last >= response.count;
    if (isAsked) announce(text || "No segment found.");
  });
}

function row(segment) {
  const { id, code, short_name: name, state, estimated_users: users } = segment;
  const title = [name || code || `Segment ${id}`];
  if (state !== "active") title.push(" ", element("span", { class: "badge" }, state));
  if (name && code) title.push(element("span", { class: "code" }, code));
  return element(
    "tr",
    {},
    element("th", { scope: "row" }, ...title),
    element("td", { class: "number" }, String(id)),
    element("td", { class: "number" }, users === undefined ? "–" : count(users)),
  );
}

function emptyRow(search) {
  const text = search ? `No segment's code or name holds “${search}”.` : "This member has no segments yet.";
  return element("tr", {}, element("td", { colSpan: 3, class: "hint" }, text));
}
