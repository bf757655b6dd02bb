// Which time the overview shows, as the address's parameters say it: the last 24 hours or 7 days by hour, the last 14
// days by day, or the hours of one `day`.

import { addressOf, readAddress } from "./address.js";
import { DAY_MS, HOUR_MS, day, dayOf, hourSpan, isoHour } from "./words.js";

const FIRST = "24";
const BY_DAY = "336";
const DAYS = 14;
const KNOWN = [FIRST, "168", BY_DAY];
const LONGEST_HOURS = 720; // that GetUsage covers
const SLACK_HOURS = 27; // the one under way, and what a clock is behind that is set to another time zone

const isoDay = (ms) => new Date(ms).toISOString().slice(0, 10);

// `hours`: how many to ask for, up to now; `boundsOf(running)`: the first hour and the end, where `running` is the hour
// under way by the service's clock; `choice`: the value of the choice that it is, if it is one.
export const lastHours = (hours) => ({
  hours,
  words: `last ${hours} hours`,
  isByDay: false,
  boundsOf: (running) => ({ first: running - (hours - 1) * HOUR_MS, end: Infinity }),
});

const lastDays = () => ({
  hours: DAYS * 24,
  words: `last ${DAYS} days`,
  isByDay: true,
  boundsOf: (running) => ({ first: dayOf(running) - (DAYS - 1) * DAY_MS, end: Infinity }),
});

const hoursOf = (start) => ({
  hours: Math.min(Math.max(Math.ceil((Date.now() - start) / HOUR_MS), 0) + SLACK_HOURS, LONGEST_HOURS),
  words: `hours of ${day(start)}`,
  isByDay: false,
  boundsOf: () => ({ first: start, end: start + DAY_MS }),
});

export function spanOf({ hours, day: chosen }) {
  const start = Date.parse(`${chosen}T00:00:00Z`);
  if (start) return hoursOf(start);
  const choice = KNOWN.includes(hours) ? hours : FIRST;
  return { ...(choice === BY_DAY ? lastDays() : lastHours(Number(choice))), choice };
}

// The parameter of a choice.
export const hoursParameter = (hours) => (hours === FIRST ? null : hours);

// How a day or an hour is written.
export function wordsOf(isByDay, { start, isPartial }) {
  const words = isByDay ? day(start) : hourSpan(start);
  return isPartial ? `${words}, so far` : words;
}

const inView = (view, parameters) => addressOf(view, { member: readAddress().parameters.member ?? null, ...parameters });

// Where there is more of it: of a day, its hours; of an hour, its samples.
export const moreOf = (isByDay, { start }) =>
  isByDay ? inView("overview", { day: isoDay(start) }) : inView("samples", { hour: isoHour(start) });

// Where all days are.
export const daysAddress = () => inView("overview", { hours: BY_DAY });
