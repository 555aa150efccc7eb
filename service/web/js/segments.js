// The list of speech segments; each is a button that plays it.

import { clock, percent, span } from "./text.js";

const MOST_ROWS = 500; // of a file; downloads hold them all
const PLAY = "M4 2.5v11l9-5.5z";

export class SegmentList {
  #list;
  #onPlay;
  #rows = new Map(); // id → li
  #current = null;

  /** onPlay({start, end}) when one is chosen. */
  constructor(list, onPlay) {
    this.#list = list;
    this.#onPlay = onPlay;
  }

  /** Replaces all. Segments are {id, start, end, confidence}; without an end while still open. */
  show(segments, { playable }) {
    this.#rows.clear();
    this.#current = null;
    const rows = segments.slice(0, MOST_ROWS).map((segment) => this.#row(segment, playable));
    if (segments.length > MOST_ROWS) {
      const rest = document.createElement("li");
      rest.className = "rest";
      rest.textContent = `and ${segments.length - MOST_ROWS} more, which the downloads hold`;
      rows.push(rest);
    }
    this.#list.replaceChildren(...rows);
  }

  /** Adds one at the end, or replaces the one of its id. */
  put(segment) {
    const before = this.#rows.get(segment.id);
    const row = this.#row(segment, false);
    if (before) before.replaceWith(row);
    else this.#list.append(row);
    this.#list.scrollTop = this.#list.scrollHeight;
  }

  remove(id) {
    this.#rows.get(id)?.remove();
    this.#rows.delete(id);
  }

  /** Marks the one that is being played; null for none. */
  mark(id) {
    if (id === this.#current) return;
    for (const [which, on] of [[this.#current, false], [id, true]]) {
      this.#rows.get(which)?.classList.toggle("current", on);
    }
    this.#current = id;
  }

  #row(segment, playable) {
    const { id, start, end, confidence } = segment;
    const open = end === undefined;
    // What a broken stream could not end has none.
    const sure = typeof confidence === "number" ? percent(confidence) : "cut off";
    const row = document.createElement("li");
    row.className = open ? "open" : "";
    row.dataset.start = start.toFixed(3);
    if (!open) row.dataset.end = end.toFixed(3);
    const button = document.createElement("button");
    button.type = "button";
    button.disabled = !playable;
    button.append(
      icon(),
      text("unseen", playable ? "Play " : ""),
      text("times", `${clock(start)} – ${open ? "now" : clock(end)}`),
      text("more", open ? "speaking" : `${span(end - start)} · ${sure}`),
    );
    button.addEventListener("click", () => this.#onPlay(segment));
    row.append(button);
    this.#rows.set(id, row);
    return row;
  }
}

function text(name, content) {
  const span = document.createElement("span");
  span.className = name;
  span.textContent = content;
  return span;
}

function icon() {
  const namespace = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(namespace, "svg");
  const path = document.createElementNS(namespace, "path");
  for (const [name, value] of [["viewBox", "0 0 16 16"], ["width", 12], ["height", 12]]) {
    svg.setAttribute(name, value);
  }
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", PLAY);
  svg.append(path);
  return svg;
}
