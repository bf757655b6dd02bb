// What is shown, in the address after #: a view and its parameters, `segments?search=tea&sort=code.asc`. Views write the
// address and are shown by what it says, so that going back, reloading and sending a link on work.

let follow = () => {};

// `listener()` is called whenever the address changes, by whatever.
export function whenAddressChanges(listener) {
  follow = listener;
  addEventListener("hashchange", listener);
}

export function readAddress() {
  const [view, query = ""] = location.hash.slice(1).split("?", 2);
  return { view, parameters: Object.fromEntries(new URLSearchParams(query)) };
}

// Parameters that are null or empty are left out.
export function addressOf(view, parameters) {
  const written = Object.entries(parameters).filter(([, value]) => value !== null && value !== "");
  return `#${view}${written.length ? `?${new URLSearchParams(written)}` : ""}`;
}

export function go(view, parameters) {
  const address = addressOf(view, parameters);
  if (address === location.hash) follow(); // asked for once more
  else location.hash = address;
}

// Stays in the view, with some parameters changed.
export function changeAddress(view, changes) {
  go(view, { ...readAddress().parameters, ...changes });
}

// Forgets what was looked for, in the address that is shown now.
export function forgetParameters() {
  history.replaceState(null, "", addressOf(readAddress().view, {}));
}
