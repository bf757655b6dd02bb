// A form in a window of its own, in which a segment is made or changed.

import { post, put } from "./api.js";
import { byId, letPress, mayPress, said, say, showProblem } from "./dom.js";
import { explain, explainNew } from "./words.js";

const dialog = byId("segment-dialog");
const form = byId("segment-form");
const title = byId("segment-form-title");
const problem = byId("segment-form-problem");
const button = byId("segment-save");
let edited = null; // null: a new one
let member = null;
let opened = {}; // what the fields said then: they show no line's end, for example; another object each time
let onSaved = () => {};
let onFailure = () => {};

byId("segment-cancel").addEventListener("click", () => dialog.close());
form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (mayPress(button)) save();
});

// `listener(segment)` is called when a segment has been saved.
export function whenSegmentSaved(listener) {
  onSaved = listener;
}

// `listener(text)` is called when a segment could not be saved, whose form has been closed meanwhile.
export function whenSegmentFails(listener) {
  onFailure = listener;
}

export const closeForm = () => dialog.close();

// What is typed in it, for `resume`; null while it is closed.
export const typed = () => (dialog.open ? { segment: edited, owner: member, texts: said(form) } : null);

// Opens it with what was typed before.
export function resume({ segment, owner, texts }) {
  openForm(segment, owner);
  say(form, texts);
}

// Opens the form for a segment of `owner`; null: for a new one.
export function openForm(segment, owner) {
  edited = segment;
  member = owner;
  title.textContent = segment ? `Segment ${segment.id}` : "New segment";
  say(form, written(segment ?? {}));
  opened = said(form);
  showProblem(problem, "");
  letPress(button, true);
  dialog.showModal();
}

// A segment as the form's fields show it.
function written({ short_name, code, description, state, expire_minutes }) {
  return {
    short_name: short_name ?? "",
    code: code ?? "",
    description: description ?? "",
    state: state ?? "active",
    expire_minutes: expire_minutes ?? "",
  };
}

// What the form says, only as far as it differs: what somebody else changes meanwhile stays.
function changes() {
  const changed = Object.entries(said(form))
    .filter(([name, now]) => opened[name] !== now || (!edited && name === "state"))
    .map(([name, now]) => [name, name === "expire_minutes" ? minutes(now.trim()) : now.trim()]);
  return Object.fromEntries(changed);
}

const minutes = (text) => (text === "" ? null : Number(text));

// The form may be closed meanwhile, and opened for another segment: then that one stays as it is.
async function save() {
  const saved = opened;
  const name = title.textContent;
  const segment = changes();
  const [send, path, tell] = edited
    ? [put, `segment?id=${edited.id}`, explain]
    : [post, `segment?member_id=${member.id}`, segment.code ? explain : explainNew];
  letPress(button, false);
  showProblem(problem, "");
  try {
    const { response } = await send(path, { segment });
    if (saved === opened) {
      dialog.close();
      // Where it was opened for a new one, another Enter would open it again, and one more save a segment of no name.
      if (!edited) byId("segments-title").focus();
    }
    onSaved(response.segment);
  } catch (error) {
    if (saved === opened && dialog.open) showProblem(problem, tell(error));
    else onFailure(`${name}: ${tell(error)}`);
  } finally {
    if (saved === opened) letPress(button, true);
  }
}
