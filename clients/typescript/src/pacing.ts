import type { Deadline } from "./deadline.js";
import { DeadlineExceededError } from "./errors.js";
import { QUOTA_WINDOW_MS } from "./rules.js";
import type { Limits } from "./splitting.js";

/** Lets requests go, in the order they ask; in any second at most as many, with as many users, as the limits say. */
export class Pacer {
  /** When requests of the last second have gone, or will go, and how many users each has. */
  #turns: { readonly atMs: number; readonly users: number }[] = [];

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
    const counted = [...this.#turns];
    let countedUsers = counted.reduce((sum, turn) => sum + turn.users, 0);
    for (let first = counted[0]; first !== undefined; first = counted[0]) {
      const isOver = first.atMs <= atMs - QUOTA_WINDOW_MS;
      const isFull = counted.length >= limits.postsPerSecond || countedUsers + users > limits.usersPerSecond;
      // A request with more users than a second may have is for the service to refuse.
      if (!isOver && !isFull) break;
      atMs = Math.max(atMs, first.atMs + QUOTA_WINDOW_MS);
      countedUsers -= first.users;
      counted.shift();
    }
    if (atMs > now && atMs - now >= leftMs) {
      throw new DeadlineExceededError("the member's quota leaves no room before the caller's time is over");
    }
    this.#turns = [...counted, { atMs, users }];
    return atMs - now;
  }
}
