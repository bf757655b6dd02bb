// The member's files of memberships: how far each is, what was counted, and the lines that were not taken.

import { get } from "./api.js";
import { byId, element, keepChildren, keepFocus, showProblem, termOf } from "./dom.js";
import { newestOf, poll } from "./loading.js";
import { Pages } from "./pages.js";
import { JOB_COUNTERS, count, explain, explainJobError, explainPhase, inOrder } from "./words.js";

const PAGE = 10;
const POLL_MS = 5_000;
const UNDER_WAY = ["uploading", "validating", "processing"];
const problem = byId("jobs-problem");
const place = newestOf((error) => showProblem(problem, explain(error)));
const pages = new Pages("jobs", "files");
const opened = new Set(); // what is unfolded, and stays so when a job has come further
let cards = new Map(); // job → what was answered of it, and its card
let member = null;
let stop = () => {};

export function show(shown, _own, { start = "0" }) {
  member = shown;
  pages.begin(start, PAGE);
  stop = poll(POLL_MS, load);
}

export function hide() {
  stop();
  place.stop();
}

export function clear() {
  opened.clear();
  cards.clear();
  byId("jobs").replaceChildren();
  pages.clear();
  showProblem(problem, "");
}

function load() {
  return place.load(async (signal) => {
    const page = { member_id: member.id, start_element: pages.first, num_elements: PAGE };
    const { response } = await get("batch-segment", page, signal);
    const jobs = [response.batch_segment_upload_job ?? []].flat();
    showProblem(problem, "");
    const shownCards = jobs.map(cardOf);
    cards = new Map(shownCards.map((each) => [each.job, each]));
    showCards(jobs.length ? shownCards.map((each) => each.card) : [none()]);
    pages.show(jobs.length, response.count);
  });
}

// Whoever is in the lines of a job that has come further goes on in those of its new card.
function showCards(shown) {
  const place = byId("jobs");
  const { scrollTop } = document.activeElement;
  keepFocus(place, () => keepChildren(place, shown), (former) => {
    const { key } = former.closest("details").dataset;
    const again = place.querySelector(`[data-key="${key}"] > ${former.localName}`);
    again?.scrollTo({ top: scrollTop });
    return again;
  });
}

function none() {
  const text = pages.first ? "There are fewer files now: go back." : "No files in the last 30 days.";
  return element("p", { class: "card hint" }, text);
}

// A card stays as long as its job says the same: whoever reads in it keeps the place.
function cardOf(job) {
  const said = JSON.stringify(job);
  const known = cards.get(job.job_id);
  return known?.said === said ? known : { said, job: job.job_id, card: card(job) };
}

function card(job) {
  const name = `Job ${job.id}`;
  const failure = job.error_code ? [element("p", { class: "outcome bad" }, explainJobError(job.error_code))] : [];
  const parts = [
    ...failure,
    ...(UNDER_WAY.includes(job.phase) ? [progress(job, name)] : []),
    counters(job),
    ...lines(job, "error_log_lines", `Lines of job ${job.id} that were not taken`),
    ...(job.num_valid ? lines(job, "segment_log_lines", `Segments of job ${job.id}`) : []),
  ];
  const phase = element("span", { class: `badge ${job.phase}` }, explainPhase(job.phase));
  const times = [job.created_on, job.completed_time].filter(Boolean).join(" – ");
  return element(
    "article",
    { class: "card job", "aria-label": name },
    element("div", { class: "heading" }, element("h2", {}, `${name} `, phase), element("small", {}, times)),
    ...parts,
  );
}

function progress(job, name) {
  const label = `${name}, percent of the file`;
  return element("progress", { max: 100, value: job.percent_complete, "aria-label": label });
}

function counters(job) {
  const counted = JOB_COUNTERS.filter(([field]) => job[field]).map(([field, words]) => termOf(words, count(job[field])));
  return counted.length ? element("dl", {}, ...counted) : element("p", { class: "hint" }, "Nothing counted.");
}

function lines(job, field, title) {
  if (!job[field]) return [];
  const key = `${job.job_id} ${field}`;
  const text = element("pre", { tabIndex: 0, role: "region", "aria-label": title }, inOrder(job[field]));
  const details = element("details", { open: opened.has(key), "data-key": key }, element("summary", {}, title), text);
  details.addEventListener("toggle", () => (details.open ? opened.add(key) : opened.delete(key)));
  return [details];
}
