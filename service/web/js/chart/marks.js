// What moves over the chart: the playhead, the pointer with what is under it, a selection.

import { clock } from "../text.js";
import { AXIS } from "./axis.js";
import { GUTTER } from "./chart.js";
import { colours, penOf } from "./colours.js";
import { FRAMES_PER_S } from "./scale.js";

export class Marks {
  #canvas;
  #chart;
  #hover = null;
  #selection = null;
  #playhead = null;

  constructor(canvas, chart) {
    this.#canvas = canvas;
    this.#chart = chart;
  }

  /** seconds, or null. */
  set playhead(time) {
    this.#playhead = time;
    this.draw();
  }

  /** Pixels, or null. */
  set hover(x) {
    this.#hover = x;
    this.draw();
  }

  /** [x1, x2] in pixels, or null. */
  set selection(pixels) {
    this.#selection = pixels;
    this.draw();
  }

  draw() {
    const { scale, scene } = this.#chart;
    if (!scale || !this.#canvas.clientWidth) return;
    const { pen, width, height } = penOf(this.#canvas);
    const bottom = height - AXIS;
    if (this.#selection) {
      const [left, right] = [...this.#selection].sort((a, b) => a - b);
      pen.fillStyle = colours().selection;
      pen.fillRect(Math.max(left, GUTTER), 0, right - Math.max(left, GUTTER), bottom);
    }
    const time = this.#playhead;
    if (time !== null && !scene.live && time >= scale.from && time <= scale.to) {
      pen.fillStyle = colours().text;
      pen.fillRect(scale.x(time) - 0.75, 0, 1.5, bottom);
    }
    if (this.#hover !== null && this.#hover >= GUTTER && !scene.live) this.#point(pen, width, bottom);
  }

  #point(pen, width, bottom) {
    const { scale, scene } = this.#chart;
    const { text, muted, card } = colours();
    const time = scale.time(this.#hover);
    const frame = Math.floor(time * FRAMES_PER_S);
    const values = scene.channels.map(({ probabilities: p }) => p.at(frame));
    if (!values.length || values.some((value) => value === undefined)) return;
    const shown = values.slice(0, 4).map((value) => `${Math.round(value * 100)} %`);
    const label = `${clock(time)}   speech ${shown.join(" · ")}`;
    const wide = pen.measureText(label).width + 14;
    const left = Math.min(Math.max(this.#hover - wide / 2, GUTTER), width - wide);
    pen.fillStyle = muted;
    pen.fillRect(this.#hover - 0.5, 0, 1, bottom);
    pen.fillStyle = text;
    pen.beginPath();
    pen.roundRect(left, 2, wide, 20, 5);
    pen.fill();
    pen.fillStyle = card;
    pen.textAlign = "left";
    pen.textBaseline = "middle";
    pen.fillText(label, left + 7, 12.5);
  }
}
