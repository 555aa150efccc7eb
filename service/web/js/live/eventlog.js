// What the server told, when, and how late: the newest first.

import { clock, milliseconds } from "../text.js";

const MOST = 200;

export class EventLog {
  #list;

  constructor(list) {
    this.#list = list;
  }

  clear() {
    this.#list.replaceChildren();
  }

  /**
   * message: the server's; delay: milliseconds from sending the audio that decided it to hearing
   * of it, where known; now: seconds recorded when it came.
   */
  add(message, delay, now) {
    const found = describe(message, delay, now);
    if (!found) return;
    const row = document.createElement("li");
    row.className = message.type;
    for (const [name, text] of Object.entries(found)) {
      const part = document.createElement("span");
      part.className = name;
      part.textContent = text;
      row.append(part);
    }
    this.#list.prepend(row);
    if (this.#list.childElementCount > MOST) this.#list.lastElementChild.remove();
  }
}

function describe(message, delay, now) {
  const { type, audio_start_ms: start, audio_end_ms: end, detected_at_ms: detected } = message;
  if (type === "speech_started") {
    return {
      at: clock(start / 1000),
      what: "Speech started",
      note: [
        `needed ${milliseconds(detected - start)} of audio`,
        delay === null ? "" : `event ${milliseconds(delay)} after sending that`,
      ].filter(Boolean).join(" · "),
    };
  }
  const after = `event ${milliseconds(Math.max(0, now * 1000 - end))} after the end`;
  if (type === "speech_stopped") {
    return { at: clock(end / 1000), what: "Speech stopped", note: `${message.reason} · ${after}` };
  }
  if (type === "speech_discarded") {
    return { at: clock(start / 1000), what: "Discarded", note: `too short · ${after}` };
  }
  return null;
}
