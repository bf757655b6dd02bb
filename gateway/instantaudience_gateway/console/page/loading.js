// When views load: the newest question counts, and polling rests where nobody looks.

import { isAbort, isPassing } from "./api.js";

const RETRY_MS = 3_000;
const REFUSALS = 10; // in a row: then a limit is too low
const IDLE_MS = 15 * 60_000;
const SIGNS_OF_LIFE = ["pointerdown", "pointermove", "keydown", "wheel", "touchstart", "focus"];

// A place that shows one answer at a time: a new load gives up the one before. Errors go to `onError`; where they pass by
// themselves, the load is tried again, so that what it shows and the error that it told are up to date together.
export function newestOf(onError) {
  let current = new AbortController();
  async function load(work) {
    current.abort();
    const own = (current = new AbortController());
    try {
      await work(own.signal);
    } catch (error) {
      if (isAbort(error) || own.signal.aborted) return;
      onError(error);
      if (isPassing(error)) again(() => load(work), own.signal);
    }
  }
  return { load, stop: () => current.abort() };
}

function again(load, signal) {
  setTimeout(() => {
    if (signal.aborted) return;
    if (isWatched()) load();
    else again(load, signal);
  }, RETRY_MS);
}

// What a call answers that may have to wait for others of its member, whose limit is used up for this second.
export async function withinLimits(call) {
  for (let refused = 1; ; refused += 1) {
    try {
      return await call();
    } catch (error) {
      if (error.status !== 429 || refused === REFUSALS) throw error;
      await new Promise((resolve) => setTimeout(resolve, error.retrySeconds * 1000));
    }
  }
}

let lastSign = Date.now();
for (const sign of SIGNS_OF_LIFE) {
  addEventListener(sign, () => (lastSign = Date.now()), { capture: true, passive: true });
}

// Every call renews the token; without this, a tab left open would keep its session for a day.
const isWatched = () => document.visibilityState === "visible" && Date.now() - lastSign < IDLE_MS;

// Does `work` after `firstMs`, and then every `everyMs` from its end on, while the page is looked at.
export function poll(everyMs, work, firstMs = 0) {
  let timer = setTimeout(round, firstMs);
  let stopped = false;
  async function round() {
    if (isWatched()) await work();
    if (!stopped) timer = setTimeout(round, everyMs);
  }
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}
