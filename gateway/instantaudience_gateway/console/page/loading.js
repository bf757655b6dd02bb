// When views load: the newest question counts, and polling rests where nobody looks.

import { isAbort } from "./api.js";

const IDLE_MS = 15 * 60_000;
const SIGNS_OF_LIFE = ["pointerdown", "pointermove", "keydown", "wheel", "touchstart", "focus"];

// A place that shows one answer at a time: a new load gives up the one before. Errors go to `onError`.
export function newestOf(onError) {
  let current = new AbortController();
  return {
    async load(work) {
      current.abort();
      const own = (current = new AbortController());
      try {
        await work(own.signal);
      } catch (error) {
        if (!isAbort(error) && !own.signal.aborted) onError(error);
      }
    },
    stop() {
      current.abort();
    },
  };
}

let lastSign = Date.now();
for (const sign of SIGNS_OF_LIFE) {
  addEventListener(sign, () => (lastSign = Date.now()), { capture: true, passive: true });
}

// Every call renews the token; without this, a tab left open would keep its session for a day.
const isWatched = () => document.visibilityState === "visible" && Date.now() - lastSign < IDLE_MS;

// Does `work` now and then every `everyMs` from its end on, while the page is looked at.
export function poll(everyMs, work) {
  let timer = 0;
  let stopped = false;
  const round = async () => {
    if (isWatched()) await work();
    if (!stopped) timer = setTimeout(round, everyMs);
  };
  round();
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}
