// What the console says: numbers, times, and the service's errors and warnings in plain words.

import { isPassing } from "./api.js";

const COUNT = new Intl.NumberFormat("en");
const DAY = new Intl.DateTimeFormat("en", { timeZone: "UTC", weekday: "short", day: "numeric", month: "short" });
const HOUR = new Intl.DateTimeFormat("en", { timeZone: "UTC", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
export const HOUR_MS = 3_600_000;
export const DAY_MS = 24 * HOUR_MS;

// Characters that turn around what follows them, and letters that are written from right to left.
const TURNING = /[\u202a-\u202e\u2066-\u2069]/g;
const FROM_THE_RIGHT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;

// Lines in which others wrote something, in their order.
export const inOrder = (text) => text.replace(TURNING, "\ufffd");

// What others wrote, so that what stands beside it keeps its place and its order.
export function apart(text) {
  const still = inOrder(text);
  return FROM_THE_RIGHT.test(still) ? `\u2068${still}\u2069` : still;
}

export const named = ({ name, id }) => `${apart(name)} (${id})`;

export const count = (number) => COUNT.format(number);
export const percent = (number) => (number === null ? "–" : `${number.toFixed(1)} %`);
export const day = (ms) => DAY.format(ms);
export const hour = (ms) => HOUR.format(ms);
// When the day (UTC) began.
export const dayOf = (ms) => ms - (ms % DAY_MS);
// An hour in the page's address: `2026-11-24T20`, UTC.
export const isoHour = (ms) => new Date(ms).toISOString().slice(0, 13);
export const hourSpan = (ms) => `${day(ms)}, ${hour(ms)}–${hour(ms + HOUR_MS)}`;

// A membership's time left, in minutes as the service gives it; 0 is for ever.
export function timeLeft(minutes) {
  if (minutes === 0) return "never ends";
  if (minutes < 120) return minutes === 1 ? "1 minute" : `${minutes} minutes`;
  if (minutes < 2 * 1440) return `about ${Math.round(minutes / 60)} hours`;
  return `about ${count(Math.round(minutes / 1440))} days`;
}

// How long memberships of a segment last, whose blocks do not say it.
export function lifetime(minutes) {
  if (minutes === null) return "by default";
  return minutes === 0 ? "for ever" : timeLeft(minutes);
}

const wait = (seconds) => `Try again in ${seconds === 1 ? "a second" : `${seconds} seconds`}.`;

// Error ID of the contract → what to do about it.
const ADVICE = {
  SYNTAX: (error) => `The service cannot read this: ${error.text}`,
  NOAUTH: () => "Your session has ended. Sign in again.",
  NOAUTH_DISABLED: () => "This account is deactivated. Ask your administrator to activate it.",
  UNAUTH: (error) => `You are not allowed to do this: ${error.text} Ask your administrator.`,
  INTEGRITY: (error) => `This does not fit what is there: ${error.text}`,
  LIMIT: (error) => `This is too much at once: ${error.text}`,
  RATE_LIMIT_EXCEEDED: (error) => `Your member's limit for this second is used up. ${wait(error.retrySeconds)}`,
  SYSTEM: (error) =>
    isPassing(error)
      ? `The service is busy or cannot reach its data. ${wait(error.retrySeconds)} Sending it again does no harm.`
      : `Something went wrong inside the service. Try again; if it stays, report this request: ${error.requestId}`,
};

const NO_ANSWER = "The service does not answer. Check your connection, and try again.";

export function explain(error) {
  if (error.id === "NO_ANSWER") return NO_ANSWER;
  return (ADVICE[error.id] ?? ADVICE.SYSTEM)(error);
}

// Of what is made anew each time that it is sent, a segment without a code.
export function explainNew(error) {
  if (!isPassing(error) || error.status === 429) return explain(error);
  const why = error.id === "NO_ANSWER" ? "The service does not answer." : "The service is busy or cannot reach its data.";
  return `${why} It may have been made all the same: look for it before you save it once more.`;
}

const SIGN_IN = {
  NOAUTH: "The user name or the password is wrong.",
  RATE_LIMIT_EXCEEDED: "Too many sign-ins to this account, or failed ones from here. Wait five minutes, then try again.",
};

export const explainSignIn = (error) => SIGN_IN[error.id] ?? explain(error);

// A warning's text begins with → in plain words; `rest` is what follows. (source: contract, "POST /rt-segment")
const WARNINGS = [
  ["Invalid segment: ", (rest) => `There is no segment ${rest}. Look its ID up under Segments.`],
  ["Unauthorized segment: ", (rest) => `Your member may not use segment ${rest}. Ask your administrator for access.`],
  ["Inactive segment: ", (rest) => `Segment ${rest} is inactive and takes nobody. Its owner can activate it.`],
  ["Unknown user_id: ", (rest) => `The external ID ${rest} is mapped to no user yet. Map it first (POST /mapuid).`],
  ["Suppressed user_id: ", (rest) => `The user ${rest} asked to be left out, and is added to nothing.`],
  ["Invalid user_id: ", (rest) => `“${rest}” is not an ID of the chosen kind. Check the ID and its kind.`],
  ["Invalid domain: ", (rest) => `The kind “${rest}” is not known.`],
  ["'expiration' cannot be less than -1", () => "The minutes must be 1 or more."],
  ["No valid segments for user_id: ", () => "So there was nothing to change for this user."],
  ["No valid rt_segment in request.", () => "So nothing of the request could be applied."],
];

// Why calls failed (source: usage.proto, CallFailure).
const FAILURES = {
  SYNTAX: "The request could not be read (400)",
  INVALID: "A privacy request was not valid (422)",
  NOAUTH: "The password was wrong, the token revoked, or the user deactivated (401)",
  UNAUTH: "The user may not do this (403)",
  NOT_FOUND: "There is no such path or object (404)",
  METHOD: "The path does not take this method (405)",
  TIMEOUT: "The request did not arrive in time (408)",
  INTEGRITY: "The change does not fit what is there (409)",
  LIMIT: "The request was too large (413)",
  RATE_LIMIT: "Too many calls or users in a second (429)",
  UNAVAILABLE: "The service was busy or could not reach its data (503)",
  INTERNAL: "Something went wrong inside the service (500)",
};

export const explainFailure = (name) => FAILURES[name.replace("CALL_FAILURE_", "")] ?? name;

// Why users and blocks were skipped (source: audience.proto, WarningCode).
const SKIPS = {
  TOO_MANY_USERS: "Users past the most that a call may have",
  USER_ID_REQUIRED: "Users without an ID",
  SEG_BLOCK_REQUIRED: "Users without segments",
  INVALID_DOMAIN: "Users whose kind of ID (domain) is not known",
  INVALID_USER_ID: "Users whose ID does not have the form of its kind",
  NO_VALID_SEGMENTS: "Users without a valid segment",
  SUPPRESSED_USER_ID: "Users that are suppressed for privacy",
  SEGMENT_REQUIRED: "Segments without an ID, and without code and member",
  SEGMENT_AMBIGUOUS: "Segments with both an ID and a code",
  INVALID_EXPIRATION: "Segments whose expiration is below -1",
  TOO_MANY_SEGMENTS: "Users with more segments than a user may have",
};

export const explainSkip = (name) => SKIPS[name.replace("WARNING_CODE_", "")] ?? name;

// What a job of a file counted → in plain words (source: docs/batch.md, "What a job says").
export const JOB_COUNTERS = [
  ["num_valid", "Memberships added and removed"],
  ["num_valid_user", "Lines with a valid user"],
  ["num_invalid_user", "Lines whose user is not valid, or is suppressed"],
  ["num_invalid_format", "Lines that cannot be read"],
  ["num_invalid_timestamp", "Lines with an invalid time"],
  ["num_other_error", "Lines that were not taken for another reason"],
  ["num_invalid_segment", "Different segments that do not exist"],
  ["num_unauth_segment", "Different segments that the member may not use"],
  ["num_inactive_segment", "Different segments that are inactive"],
  ["num_past_expiration", "Different segments with memberships that had ended before"],
];

const PHASES = {
  starting: "waits for its file",
  uploading: "is being uploaded",
  validating: "waits for its turn",
  processing: "is being applied",
  completed: "completed",
  error: "failed",
};

export const explainPhase = (name) => PHASES[name] ?? name;

const JOB_ERRORS = {
  UPLOAD_URL_EXPIRED: "No upload began in time, or a newer URL took this one's place. Create another job.",
  UPLOAD_INCOMPLETE: "The file did not come to its end. Send it again.",
  UPLOAD_FAILED: "The file could not be kept. Send it again.",
  FILESIZE_LIMIT_EXCEEDED: "The file is larger than the member may send. Split it.",
  RATE_LIMIT_EXCEEDED: "The file is more than the member may send in this time. Send it later.",
  INVALID_FORMAT_LIMIT_EXCEEDED: "Too many lines could not be read. The lines before are applied.",
  FILE_CUT_OFF: "The compressed file ends too early. Send it again.",
  CORRUPT_FILE: "The compressed file is damaged. Send it again.",
  UNKNOWN_SCHEMA: "The Avro file does not have the schema of memberships.",
  UNKNOWN_CODEC: "The Avro file is compressed in a way that is not known.",
  MEMBER_DELETED: "The member is no longer there.",
  CANCELLED: "Somebody ended the job. What was applied before stays.",
  FILE_LOST: "A part of the file is no longer there. Send it again.",
  PROCESS_ENDED: "The service ended or stood still each time it went on with the file. Do not send it again as it is.",
};

export const explainJobError = (code) =>
  JOB_ERRORS[code] ?? `Something went wrong inside the service (${code}). Send the file again.`;

export function explainWarning(message) {
  for (const [start, say] of WARNINGS) {
    if (message.startsWith(start)) return say(message.slice(start.length));
  }
  return message;
}
