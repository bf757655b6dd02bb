import type { Deadline } from "./deadline.js";
import { DeadlineExceededError } from "./errors.js";
import { QUOTA_WINDOW_MS } from "./rules.js";
import type { Limits } from "./splitting.js";

/** When a request was sent, or will be, and its number of users. */
export interface Turn {
  readonly atMs: number;
  readonly users: number;
}

/**
 * Lets requests pass in the order in which they ask; in any second, no more requests and users than the limits allow.
 */
export class Pacer {
  /** In order of time; those of the second before the last one begin at `#first`. */
  readonly #turns: Turn[] = [];
  #first = 0;
  /** Number of users in the turns of that second. */
  #users = 0;

  constructor(private readonly nowMs: () => number = () => performance.now()) {}

  /**
   * Waits until a request with this many users may be sent.
   *
   * @throws DeadlineExceededError that is not before the deadline; nothing is sent. Or whatever ends the wait early.
   */
  async wait(users: number, limits: Limits, deadline: Deadline): Promise<void> {
    const turn = this.turn(users, limits, deadline.leftMs);
    const waitMs = turn.atMs - this.nowMs();
    try {
      if (waitMs > 0) await deadline.sleep(waitMs);
    } catch (ended) {
      this.giveBack(turn);
      throw ended;
    }
  }

  /**
   * Takes the turn of a request with this many users.
   *
   * @throws DeadlineExceededError it would be later than `leftMs`; no turn is taken.
   */
  turn(users: number, limits: Limits, leftMs: number): Turn {
    const now = this.nowMs();
    let atMs = Math.max(now, this.#turns.at(-1)?.atMs ?? now);
    let [first, counted] = [this.#first, this.#users];
    for (let turn = this.#turns[first]; turn !== undefined; turn = this.#turns[++first]) {
      const isOver = turn.atMs <= atMs - QUOTA_WINDOW_MS;
      const isFull = this.#turns.length - first >= limits.postsPerSecond || counted + users > limits.usersPerSecond;
      // A request with more users than a second may have is for the service to refuse.
      if (!isOver && !isFull) break;
      atMs = Math.max(atMs, turn.atMs + QUOTA_WINDOW_MS);
      counted -= turn.users;
    }
    if (atMs > now && atMs - now >= leftMs) {
      throw new DeadlineExceededError("the member's quota leaves no room before the caller's time is over");
    }
    const taken = { atMs, users };
    this.#turns.push(taken);
    this.#users = counted + users;
    // What is over is forgotten when it is half of all: over by now, as later ones may be given back.
    const over = first * 2 > this.#turns.length ? this.#firstAfter(now - QUOTA_WINDOW_MS) : 0;
    const forgotten = over * 2 > this.#turns.length ? over : 0;
    this.#turns.splice(0, forgotten);
    this.#first = first - forgotten;
    return taken;
  }

  /** Returns the turn of a request that is not sent, for later requests. */
  giveBack(turn: Turn): void {
    const index = this.#turns.lastIndexOf(turn);
    if (index >= 0) this.#turns.splice(index, 1);
    const lastMs = this.#turns.at(-1)?.atMs ?? 0;
    this.#first = this.#firstAfter(lastMs - QUOTA_WINDOW_MS);
    this.#users = this.#turns.slice(this.#first).reduce((sum, { users }) => sum + users, 0);
  }

  /** The index of the first turn after a time. */
  #firstAfter(ms: number): number {
    let [low, high] = [0, this.#turns.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      const isAfter = (this.#turns[middle]?.atMs ?? 0) > ms;
      [low, high] = isAfter ? [low, middle] : [middle + 1, high];
    }
    return low;
  }
}
