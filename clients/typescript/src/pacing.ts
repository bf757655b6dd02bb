import type { Deadline } from "./deadline.js";
import { DeadlineExceededError } from "./errors.js";
import { QUOTA_WINDOW_MS } from "./rules.js";
import type { Limits } from "./splitting.js";

/** Lets requests go, in the order they ask; in any second at most as many, with as many users, as the limits say. */
export class Pacer {
  /** When requests have gone, or will go, and how many users each has; those of the last second begin at `#first`. */
  readonly #turns: { readonly atMs: number; readonly users: number }[] = [];
  #first = 0;
  /** Of those of the last second. */
  #users = 0;

  constructor(private readonly nowMs: () => number = () => performance.now()) {}

  /**
   * Waits until a request with so many users may go.
   *
   * @throws DeadlineExceededError it may not in time; nothing is sent.
   */
  async wait(users: number, limits: Limits, deadline: Deadline): Promise<void> {
    const waitMs = this.turnMs(users, limits, deadline.leftMs);
    if (waitMs > 0) await deadline.sleep(waitMs);
  }

  /**
   * In how many milliseconds a request with so many users may go; that turn is taken.
   *
   * @throws DeadlineExceededError that is after `leftMs`; no turn is taken.
   */
  turnMs(users: number, limits: Limits, leftMs: number): number {
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
    this.#turns.push({ atMs, users });
    this.#users = counted + users;
    // What is over is forgotten when it is half of all.
    const isMostlyOver = first * 2 > this.#turns.length;
    if (isMostlyOver) this.#turns.splice(0, first);
    this.#first = isMostlyOver ? 0 : first;
    return atMs - now;
  }
}
