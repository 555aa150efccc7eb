// The table of several files: each row opens its file.

import { clock, percent } from "./text.js";

export class FileList {
  #body;
  #handlers;
  #rows = new Map(); // item → its parts

  /** handlers.open(item), handlers.remove(item). */
  constructor(table, handlers) {
    this.#body = table.tBodies[0];
    this.foot = table.tFoot;
    this.#handlers = handlers;
  }

  /** items in order; the open one is marked. */
  show(items, open) {
    for (const [item, { row }] of this.#rows) {
      if (items.includes(item)) continue;
      row.remove();
      this.#rows.delete(item);
    }
    for (const item of items) {
      if (!this.#rows.has(item)) this.#add(item);
      this.#fill(item, item === open);
    }
    this.#total(items);
  }

  #add(item) {
    const row = this.#body.insertRow();
    const head = document.createElement("th");
    head.scope = "row";
    const button = document.createElement("button");
    button.type = "button";
    button.className = "quiet name";
    button.textContent = item.name;
    button.addEventListener("click", () => this.#handlers.open(item));
    head.append(button);
    row.append(head);
    const cells = [0, 1, 2].map(() => row.insertCell());
    const remove = document.createElement("button");
    remove.type = "button";
    remove.className = "quiet";
    remove.textContent = "Remove";
    remove.setAttribute("aria-label", `Remove ${item.name}`);
    remove.addEventListener("click", () => this.#handlers.remove(item));
    row.insertCell().append(remove);
    this.#rows.set(item, { row, button, cells });
  }

  #fill(item, open) {
    const { row, button, cells } = this.#rows.get(item);
    row.classList.toggle("current", open);
    if (open) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
    const [duration, speech, count] = cells;
    const ready = item.status === "done";
    // What isn't known yet, or why it never will be, takes the place of all three.
    duration.colSpan = ready ? 1 : 3;
    duration.className = ready ? "" : "state";
    speech.hidden = !ready;
    count.hidden = !ready;
    const texts = ready
      ? [clock(item.duration, 1), percent(shareOf(item)), String(item.segments.length)]
      : [stateOf(item), "", ""];
    [duration, speech, count].forEach((cell, i) => {
      if (cell.textContent !== texts[i]) cell.textContent = texts[i];
    });
  }

  #total(items) {
    const done = items.filter(({ status }) => status === "done");
    const duration = done.reduce((sum, item) => sum + item.duration, 0);
    const speech = done.reduce((sum, item) => sum + item.speech, 0);
    const count = done.reduce((sum, item) => sum + item.segments.length, 0);
    const [, ...cells] = this.foot.rows[0].cells;
    const texts = [clock(duration, 1), percent(duration ? speech / duration : 0), String(count)];
    texts.forEach((text, i) => {
      cells[i].textContent = text;
    });
  }
}

function shareOf({ speech, duration }) {
  return duration ? speech / duration : 0;
}

function stateOf({ status, share, problem }) {
  if (status === "failed") return problem.message;
  if (status === "waiting") return "waiting";
  return share < 1 ? `sending, ${percent(share)}` : "listening …";
}
