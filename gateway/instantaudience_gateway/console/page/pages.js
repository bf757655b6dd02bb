// A list that is shown a page at a time: the buttons below it, and which part of it is shown.

import { changeAddress } from "./address.js";
import { byId, letPress, mayPress, setText } from "./dom.js";
import { count } from "./words.js";

export class Pages {
  // `name` begins the IDs of the elements.
  constructor(name, view) {
    this.view = view;
    [this.back, this.place, this.on] = ["back", "place", "on"].map((part) => byId(`${name}-${part}`));
    this.back.addEventListener("click", () => mayPress(this.back) && this.#turn(-1));
    this.on.addEventListener("click", () => mayPress(this.on) && this.#turn(1));
    this.clear();
  }

  // The page is to have so many elements, from `start` on, as the address says it.
  begin(start, size) {
    this.first = Math.max(0, Math.trunc(Number(start)) || 0);
    this.size = size;
  }

  // Says that so many are shown now, of so many in all; answers what it says.
  show(shown, all) {
    this.all = all;
    const last = this.first + shown;
    const text = shown ? `${count(this.first + 1)}–${count(last)} of ${count(all)}` : "";
    setText(this.place, text);
    letPress(this.back, this.first > 0);
    letPress(this.on, last < all);
    return text;
  }

  clear() {
    this.place.textContent = "";
    for (const button of [this.back, this.on]) letPress(button, false);
  }

  // Back from past the end is the last page.
  #turn(by) {
    const last = Math.floor((this.all - 1) / this.size) * this.size;
    const start = Math.max(0, Math.min(this.first + by * this.size, last));
    changeAddress(this.view, { start: start || null });
  }
}
