// Calls of the service's REST API, as the account that has signed in.
//
// The token is in this module and in the tab's sessionStorage, which only this origin's pages in this tab can read, and
// which ends with the tab. It is sent as a header, never in a URL.

const TOKEN_KEY = "instant-audience.token";
const WAIT_SECONDS = 1;
const PATIENCE_MS = 30_000; // several times what a call takes by default, when it fails at its deadline

// `id` is the contract's error_id, or NO_ANSWER; `text` what the service says; `retrySeconds` when to try again.
class ApiError extends Error {
  constructor(id, text, { status = 0, retrySeconds = WAIT_SECONDS, requestId = "" } = {}) {
    super(text);
    this.name = "ApiError";
    Object.assign(this, { id, text, status, retrySeconds, requestId });
  }
}

const tab = tabStorage();
let token = tab?.getItem(TOKEN_KEY) ?? null;
let onSessionEnd = () => {};

export const isSignedIn = () => token !== null;

// `listener(error)` is called when the service takes the token no more.
export function whenSessionEnds(listener) {
  onSessionEnd = listener;
}

export async function signIn(username, password) {
  const answer = await send("POST", "auth", { body: { auth: { username, password } } });
  token = answer.response.token;
  tab?.setItem(TOKEN_KEY, token);
}

export function forgetToken() {
  token = null;
  tab?.removeItem(TOKEN_KEY);
}

// Rejects when the service cannot be told: then the token, which nobody has any more, ends by itself.
export async function signOut() {
  const ended = token;
  forgetToken();
  try {
    await send("DELETE", "auth", { headers: { authorization: ended }, keepalive: true });
  } catch (error) {
    if (error.status !== 401) throw error; // it has ended before
  }
}

export const get = (path, parameters = {}, signal) => callSignedIn("GET", path, { parameters, signal });
export const post = (path, body) => callSignedIn("POST", path, { body });
export const put = (path, body) => callSignedIn("PUT", path, { body });

// Whether an error only says that nobody waits for the answer any more.
export const isAbort = (error) => error.name === "AbortError";

// Whether the same call may well succeed a little later. (502 and 504 come from what may stand before the service.)
export const isPassing = (error) => [0, 429, 502, 503, 504].includes(error.status);

// A browser may be told to keep nothing; then the session lasts as long as the page.
function tabStorage() {
  try {
    return sessionStorage;
  } catch {
    return null;
  }
}

async function callSignedIn(method, path, options) {
  const sent = token;
  try {
    return await send(method, path, { ...options, headers: { authorization: sent } });
  } catch (error) {
    if (error.status === 401 && token === sent) {
      forgetToken();
      onSessionEnd(error);
    }
    throw error;
  }
}

async function send(method, path, { parameters = {}, body, headers = {}, signal, keepalive = false } = {}) {
  const url = new URL(path, document.baseURI);
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
  const content = body && { body: JSON.stringify(body) };
  const type = body && { "content-type": "application/json" };
  const patience = new AbortController();
  const giveUp = () => patience.abort();
  if (signal?.aborted) giveUp();
  signal?.addEventListener("abort", giveUp);
  const timer = setTimeout(giveUp, PATIENCE_MS);
  let response, text;
  try {
    response = await fetch(url, {
      method,
      headers: { ...headers, ...type },
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      referrerPolicy: "no-referrer",
      signal: patience.signal,
      keepalive, // the page may be left meanwhile
      ...content,
    });
    text = await response.text();
  } catch (error) {
    throw signal?.aborted ? signal.reason : new ApiError("NO_ANSWER", "");
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", giveUp);
  }
  const answer = parsed(text);
  if (response.ok && answer) return answer;
  const failure = answer?.response ?? {};
  throw new ApiError(failure.error_id ?? "SYSTEM", failure.error ?? "", {
    status: response.status,
    retrySeconds: Number(response.headers.get("retry-after")) || WAIT_SECONDS,
    requestId: response.headers.get("x-request-id") ?? "",
  });
}

// What stands between us and the service (a proxy) may answer with something else than JSON.
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
