// What came from the microphone: its outline for the chart, and a WAV file.

import { FRAMES_PER_S } from "../chart/scale.js";
import { Outline } from "../pyramid.js";

const FULL_SCALE = 32768;

export class Recording {
  outline = new Outline();
  #blocks = [];
  #samples = 0;
  #bucket = null; // {frame, least, greatest, squares, count}: of the last 10 ms so far

  #began = new Date().toTimeString().slice(0, 8).replaceAll(":", "");

  constructor(rate) {
    this.rate = rate;
  }

  get duration() {
    return this.#samples / this.rate;
  }

  /** Takes the next samples, an Int16Array. */
  add(block) {
    for (const sample of block) {
      const frame = Math.floor((this.#samples * FRAMES_PER_S) / this.rate);
      if (frame !== this.#bucket?.frame) this.#begin(frame);
      const value = sample / FULL_SCALE;
      const bucket = this.#bucket;
      bucket.least = Math.min(bucket.least, value);
      bucket.greatest = Math.max(bucket.greatest, value);
      bucket.squares += value * value;
      bucket.count += 1;
      this.#samples += 1;
    }
    if (this.#bucket) this.#amend();
    this.#blocks.push(block);
  }

  #begin(frame) {
    if (this.#bucket) this.#amend();
    this.#bucket = { frame, least: 1, greatest: -1, squares: 0, count: 0 };
    this.outline.add(0, 0, 0);
  }

  #amend() {
    const { least, greatest, squares, count } = this.#bucket;
    this.outline.amend(least, greatest, squares / count);
  }

  /** The recording as a file: 16-bit mono WAV. */
  wav() {
    const name = `recording-${this.#began}.wav`;
    const bytes = this.#samples * 2;
    const view = new DataView(new ArrayBuffer(44));
    const ascii = (at, text) => [...text].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
    ascii(0, "RIFF");
    view.setUint32(4, 36 + bytes, true);
    ascii(8, "WAVEfmt ");
    view.setUint32(16, 16, true); // size of the format chunk
    view.setUint16(20, 1, true); // PCM
    view.setUint16(22, 1, true); // mono
    view.setUint32(24, this.rate, true);
    view.setUint32(28, this.rate * 2, true);
    view.setUint16(32, 2, true);
    view.setUint16(34, 16, true);
    ascii(36, "data");
    view.setUint32(40, bytes, true);
    return new File([view, ...this.#blocks], name, { type: "audio/wav" });
  }
}
