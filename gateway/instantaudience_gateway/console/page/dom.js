// Small tools for the page. Text is put in as text only, never as markup.

export const byId = (id) => document.getElementById(id);

// An element with properties (`class`, `data-…` and `aria-…` as attributes) and children, texts or elements.
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in made && !key.includes("-")) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

// The row of a table that has none, but something to say, in sight also where the table is wider than its place.
export const messageRow = (columns, text) =>
  element("tr", {}, element("td", { colSpan: columns, class: "hint" }, element("span", {}, text)));

// A term of a list (`dl`) with what is said of it.
export const termOf = (term, text, properties = {}) =>
  element("div", properties, element("dt", {}, term), element("dd", {}, text));

// Has an element have these children. Those that it has already stay untouched, with focus and what they are scrolled to.
export function keepChildren(parent, children) {
  for (const child of [...parent.children]) if (!children.includes(child)) child.remove();
  children.forEach((child, index) => {
    if (parent.children[index] !== child) parent.insertBefore(child, parent.children[index] ?? null);
  });
}

// Does `change`, by which what is in a place may be made anew. Who is in it with the focus goes on at the same element or,
// where that is gone, at the one that `instead(it)` finds, if any.
export function keepFocus(place, change, instead) {
  const { activeElement: focused } = document;
  const wasWithin = place.contains(focused);
  change();
  if (wasWithin) (place.contains(focused) ? focused : instead(focused))?.focus({ preventScroll: true });
}

// Has an element say this. Where it does already, it stays untouched, with what is selected in it.
export function setText(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

// Shows a problem in its place, or takes it away (`text` empty). One that stays is told once, however often it is met.
export function showProblem(place, text) {
  setText(place, text);
  place.hidden = !text;
}

// Tells screen readers what has happened, where sight alone would tell.
export function announce(text) {
  byId("news").textContent = text;
}

// What a form's fields say, by their names; and having them say it again.
export const said = (form) => Object.fromEntries(new FormData(form));
export function say(form, texts) {
  for (const [name, text] of Object.entries(texts)) form.elements[name].value = text;
}

// Whether a button may be pressed. Where not, it keeps the focus, which one that is `disabled` loses.
export const mayPress = (button) => button.getAttribute("aria-disabled") !== "true";
export const letPress = (button, may) => button.setAttribute("aria-disabled", String(!may));

// Keeps a form from being sent twice at once; the work's own errors pass through.
export async function whileBusy(button, work) {
  if (!mayPress(button)) return;
  letPress(button, false);
  try {
    await work();
  } finally {
    letPress(button, true);
  }
}
