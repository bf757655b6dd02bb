// The sampled lines of a report as entries: who, which segment, for how long, and what became of it.
// (source: contract, "GET /rt-segment-processed"; server/instantaudience_server/usage/lines.py)

// A segment as `(ID, 'code', owner)`, with the code as Python writes it; a membership as `(user, segment ID, minutes)`.
const SEGMENT = /\((\d+), ('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"), (\d+)\)/gu;
const MEMBERSHIP = /\(([^(),]+), (\d+), (-?\d+)\)/gu;
const ESCAPE = /\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|(.))/gu;
const ESCAPED = { n: "\n", r: "\r", t: "\t" };

// What a line begins with → how its items are read, the result of each, and whether it was applied.
const KINDS = {
  "Inactive users": [usersOf, "Unknown external ID", false],
  "Suppressed users": [usersOf, "User is suppressed", false],
  "Invalid segments": [segmentsOf, "No such segment", false],
  "Unauthorized segments": [segmentsOf, "Segment not allowed", false],
  "Inactive segments": [segmentsOf, "Segment is inactive", false],
  "Valid users": [usersOf, "Accepted", true],
  "Valid segments": [segmentsOf, "Accepted", true],
  "Valid additions": [membershipsOf, "Added", true],
  "Valid removals": [membershipsOf, "Removed", true],
};

// The entries of lines, newest first. A user or a segment that is accepted has no entry of its own where a membership of it
// was changed.
export function entriesOf(text, applied) {
  const lines = text ? text.split("\n").reverse() : [];
  const entries = lines.flatMap((line) => entriesOfLine(line, applied));
  const changed = entries.filter(({ minutes }) => minutes !== null);
  const users = new Set(changed.map(({ user }) => user));
  const segments = new Set(changed.map(({ segment }) => segment));
  return entries.filter((entry) => {
    const { user, segment, result } = entry;
    return result !== "Accepted" || !(user ? users.has(user) : segments.has(segment));
  });
}

function entriesOfLine(line, applied) {
  const [, kind, items] = /^(.*?)(?: \([^)]*\))?: (.*)$/su.exec(line) ?? [null, "", line];
  const [read, result, isApplied] = Object.hasOwn(KINDS, kind) ? KINDS[kind] : [() => [], "", applied];
  const found = read(items);
  // A line that is cut off in its first item, or of a kind that this page does not know, is shown as it is.
  if (found.length === 0) return [{ ...EMPTY, result: line, applied: isApplied, raw: true }];
  return found.map((fields) => ({ ...EMPTY, ...fields, result, applied: isApplied }));
}

const EMPTY = { user: "", segment: "", code: "", owner: "", minutes: null };

function usersOf(items) {
  return items.split(", ").map((user) => ({ user }));
}

function segmentsOf(items) {
  return [...items.matchAll(SEGMENT)].map(([, id, code, owner]) => ({
    segment: id === "0" ? "" : id,
    code: unquoted(code),
    owner: owner === "0" ? "" : owner,
  }));
}

function membershipsOf(items) {
  return [...items.matchAll(MEMBERSHIP)].map(([, user, segment, minutes]) => ({ user, segment, minutes: Number(minutes) }));
}

function unquoted(text) {
  return text.slice(1, -1).replace(ESCAPE, (_, two, four, eight, one) => {
    const number = two ?? four ?? eight;
    return number ? String.fromCodePoint(parseInt(number, 16)) : (ESCAPED[one] ?? one);
  });
}
