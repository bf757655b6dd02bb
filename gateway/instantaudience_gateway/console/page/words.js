// What the console says: numbers, times, and the service's errors and warnings in plain words.

const COUNT = new Intl.NumberFormat("en");
const DAY = new Intl.DateTimeFormat("en", { timeZone: "UTC", weekday: "short", day: "numeric", month: "short" });
const HOUR = new Intl.DateTimeFormat("en", { timeZone: "UTC", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
export const HOUR_MS = 3_600_000;

export const count = (number) => COUNT.format(number);
export const percent = (number) => `${number.toFixed(1)} %`;
export const day = (ms) => DAY.format(ms);
export const hour = (ms) => HOUR.format(ms);
export const hourSpan = (ms) => `${day(ms)}, ${hour(ms)}–${hour(ms + HOUR_MS)}`;

// A membership's time left, in minutes as the service gives it; 0 is for ever.
export function timeLeft(minutes) {
  if (minutes === 0) return "never ends";
  if (minutes < 120) return minutes === 1 ? "1 minute" : `${minutes} minutes`;
  if (minutes < 2 * 1440) return `about ${Math.round(minutes / 60)} hours`;
  return `about ${count(Math.round(minutes / 1440))} days`;
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
    error.status === 503
      ? `The service is busy or cannot reach its data. ${wait(error.retrySeconds)} Sending it again does no harm.`
      : `Something went wrong inside the service. Try again; if it stays, report this request: ${error.requestId}`,
};

const NO_ANSWER = "The service does not answer. Check your connection, and try again.";

export function explain(error) {
  if (error.id === "NO_ANSWER") return NO_ANSWER;
  return (ADVICE[error.id] ?? ADVICE.SYSTEM)(error);
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
  ["Invalid user_id: ", (rest) => `“${rest}” is not an ID of the chosen kind. Check the ID and its kind.`],
  ["Invalid domain: ", (rest) => `The kind “${rest}” is not known.`],
  ["'expiration' cannot be less than -1", () => "The minutes must be 1 or more."],
  ["No valid segments for user_id: ", () => "So there was nothing to change for this user."],
  ["No valid rt_segment in request.", () => "So nothing of the request could be applied."],
];

export function explainWarning(message) {
  for (const [start, say] of WARNINGS) {
    if (message.startsWith(start)) return say(message.slice(start.length));
  }
  return message;
}
