// The list of speech segments; each is a button that plays it.

import { clock, percent, span } from "./text.js";

const PAGE = 300; // rows that are made at once: thousands would make the page slow
const PLAY = "M4 2.5v11l9-5.5z";

export class SegmentList {
  #list;
  #onPlay;
  #rows = new Map(); // key → li
  #current = new Set();
  #more = [];
  #options = {};

  /** onPlay({start, end}) when one is chosen. */
  constructor(list, onPlay) {
    this.#list = list;
    this.#onPlay = onPlay;
  }

  /**
   * Replaces all. Segments are {channel, id, start, end, confidence}; without an end while still
   * open. options: playable; several, whether there are several channels to tell apart.
   */
  show(segments, options) {
    this.#rows.clear();
    this.#current.clear();
    this.#options = options;
    this.#more = [...segments];
    this.#list.replaceChildren();
    this.#page();
  }

  /** As show, where those before are the same: what is new is added. */
  extend(segments, options) {
    const known = this.#rows.size + this.#more.length;
    if (!known || segments.length < known) return this.show(segments, options);
    this.#more.push(...segments.slice(known));
    if (this.#rows.size < PAGE) this.#page(PAGE - this.#rows.size);
  }

  /** Adds one at the end, or replaces the one of its id. */
  put(segment) {
    const before = this.#rows.get(keyOf(segment));
    const row = this.#row(segment);
    if (before) before.replaceWith(row);
    else this.#list.append(row);
    this.#list.scrollTop = this.#list.scrollHeight;
  }

  remove(segment) {
    this.#rows.get(keyOf(segment))?.remove();
    this.#rows.delete(keyOf(segment));
  }

  /** Marks those that are being played. */
  mark(segments) {
    const keys = new Set(segments.map(keyOf));
    for (const key of new Set([...this.#current, ...keys])) {
      this.#rows.get(key)?.classList.toggle("current", keys.has(key));
    }
    this.#current = keys;
  }

  #page(rows = PAGE) {
    this.#list.querySelector(".rest")?.remove();
    const next = this.#more.splice(0, rows);
    this.#list.append(...next.map((segment) => this.#row(segment)));
    if (!this.#more.length) return;
    const rest = document.createElement("li");
    rest.className = "rest";
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = `Show more of the other ${this.#more.length}`;
    button.addEventListener("click", () => this.#page());
    rest.append(button);
    this.#list.append(rest);
  }

  #row(segment) {
    const { channel, start, end, confidence } = segment;
    const { playable, several } = this.#options;
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
    const where = several ? `ch. ${channel + 1} · ` : "";
    button.append(
      icon(),
      text("unseen", playable ? "Play " : ""),
      text("times", `${clock(start)} – ${open ? "now" : clock(end)}`),
      text("more", `${where}${open ? "speaking" : `${span(end - start)} · ${sure}`}`),
    );
    button.addEventListener("click", () => this.#onPlay(segment));
    row.append(button);
    this.#rows.set(keyOf(segment), row);
    return row;
  }
}

function keyOf({ channel, id }) {
  return `${channel}:${id}`;
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
