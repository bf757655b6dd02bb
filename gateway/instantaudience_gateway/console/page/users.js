// One user: change a membership and see the whole answer, or look all memberships up.

import { get, post } from "./api.js";
import { byId, element, said, say, showProblem, whileBusy } from "./dom.js";
import { newestOf } from "./loading.js";
import { apart, explain, explainWarning, named, timeLeft } from "./words.js";

// The contract's domains ("" is none).
const DOMAINS = [
  ["", "Platform ID, or your external ID"],
  ["idfa", "IDFA (iOS advertising ID)"],
  ["aaid", "AAID (Android advertising ID)"],
  ["sha1udid", "SHA-1 of a device ID"],
  ["openudid", "OpenUDID"],
  ["md5udid", "MD5 of a device ID"],
];
const SUGGESTED_SEGMENTS = 100;
const TYPED_MS = 250; // so long nobody types, then segments are looked for

const applying = byId("apply");
const looking = byId("look-up");
const segment = byId("apply-segment");
const suggestions = newestOf(() => {}); // the form works without them
let memberId = 0;
let typing = 0;
let cleared = 0; // how often: an answer that comes after that is shown to nobody

for (const id of ["apply-domain", "look-up-domain"]) {
  byId(id).replaceChildren(...DOMAINS.map(([value, text]) => element("option", { value }, text)));
}
segment.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(suggestSegments, TYPED_MS);
});
applying.addEventListener("change", showFields);
applying.addEventListener("submit", (event) => {
  event.preventDefault();
  run(applying, "apply", apply);
});
looking.addEventListener("submit", (event) => {
  event.preventDefault();
  run(looking, "look-up", lookUp);
});

export function show(member, own) {
  const other = member.id === own.id ? "" : `, not as ${named(member)}, which is chosen above`;
  byId("users-member").textContent = `Both act as your own member, ${named(own)}${other}.`;
  showFields();
  memberId = own.id;
  suggestSegments();
}

export function hide() {
  clearTimeout(typing);
  suggestions.stop();
}

export function clear() {
  cleared += 1;
  byId("known-segments").replaceChildren();
  for (const form of [applying, looking]) form.reset();
  for (const name of ["apply", "look-up"]) {
    showProblem(byId(`${name}-problem`), "");
    byId(`${name}-answer`).replaceChildren();
  }
}

export const typed = () => [applying, looking].map(said);

export function resume(texts) {
  [applying, looking].forEach((form, index) => say(form, texts[index]));
  showFields();
}

function showFields() {
  const { change, end } = said(applying);
  byId("apply-adding").hidden = change === "remove";
  const hasMinutes = end === "minutes" && change === "add";
  byId("apply-minutes-field").hidden = !hasMinutes;
  byId("apply-minutes").disabled = !hasMinutes;
}

// Those whose ID, name or code holds what is typed.
function suggestSegments() {
  const search = segment.value.trim();
  const question = { member_id: memberId, num_elements: SUGGESTED_SEGMENTS, ...(search && { search }) };
  return suggestions.load(async (signal) => {
    const { response } = await get("segment", question, signal);
    byId("known-segments").replaceChildren(...(response.segments ?? []).map(suggestion));
  });
}

function suggestion({ id, short_name: name, code }) {
  const words = name && code ? `${apart(name)} (${apart(code)})` : apart(name || code || "");
  return element("option", { value: id }, words);
}

async function run(form, name, work) {
  const problem = byId(`${name}-problem`);
  const answer = byId(`${name}-answer`);
  const before = cleared;
  await whileBusy(form.querySelector("button"), async () => {
    showProblem(problem, "");
    let shown = [];
    let text = "";
    try {
      shown = await work(said(form));
    } catch (error) {
      text = explain(error);
    }
    if (cleared !== before) return;
    answer.replaceChildren(...shown);
    showProblem(problem, text);
  });
}

function blockOf(fields) {
  const block = { seg_id: Number(fields.seg_id) };
  if (fields.change === "remove") return { ...block, expiration: -1 };
  const expiration = { never: 0, minutes: Number(fields.minutes) }[fields.end];
  return { ...block, value: Number(fields.value), ...(expiration !== undefined && { expiration }) };
}

async function apply(fields) {
  const user = { user_id: fields.user_id.trim(), seg_block: [blockOf(fields)] };
  const { domain } = fields;
  const answer = await post("rt-segment", { rt_segment: [domain ? { domain, ...user } : user] });
  const { warnings } = answer.response;
  const what = fields.change === "remove" ? "is not in segment" : "is in segment";
  const outcome = warnings.length
    ? element("p", { class: "outcome warn" }, "Nothing was changed.")
    : element("p", { class: "outcome good" }, `Done: user ${user.user_id} ${what} ${fields.seg_id} now.`);
  const list = warnings.map(({ message }) => element("li", {}, explainWarning(message)));
  const whole = element("pre", { tabIndex: 0, "aria-label": "The whole answer" }, JSON.stringify(answer, null, 2));
  return [
    outcome,
    ...(list.length ? [element("ul", { class: "warnings" }, ...list)] : []),
    element("details", {}, element("summary", {}, "The whole answer"), whole),
  ];
}

async function lookUp({ user_id: asked, domain }) {
  const parameters = { user_id: asked.trim(), ...(domain && { domain }) };
  const { response } = await get("rt-segment", parameters);
  const [user] = response.rt_segment;
  const blocks = user?.seg_block ?? [];
  const name = user?.user_id ?? parameters.user_id;
  if (blocks.length === 0) {
    return [element("p", { class: "outcome warn" }, `User ${name} is in no segment that you may see.`)];
  }
  const heads = ["Segment", "Member", "Value", "Time left"].map((text, index) =>
    element("th", { scope: "col", class: index === 1 || index === 2 ? "number" : "" }, text),
  );
  return [
    element(
      "div",
      { class: "table-frame", role: "region", tabIndex: 0, "aria-label": "Memberships" },
      element(
        "table",
        {},
        element("caption", { class: "unseen" }, `Memberships of user ${name}`),
        element("thead", {}, element("tr", {}, ...heads)),
        element("tbody", {}, ...blocks.map(membershipRow)),
      ),
    ),
  ];
}

function membershipRow(block) {
  const code = block.seg_code ? [element("span", { class: "code" }, apart(block.seg_code))] : [];
  return element(
    "tr",
    {},
    element("th", { scope: "row" }, String(block.seg_id), ...code),
    element("td", { class: "number" }, String(block.member_id)),
    element("td", { class: "number" }, String(block.value)),
    element("td", {}, timeLeft(block.expiration)),
  );
}
