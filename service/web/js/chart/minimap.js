// The whole recording in one strip, with the visible part to be dragged.

import { GUTTER } from "./chart.js";
import { colours, onTheme, penOf } from "./colours.js";
import { Scale } from "./scale.js";
import { drawBands } from "./bands.js";
import { drawWaveform } from "./waveform.js";

const EDGE = 8; // pixels around an edge by which it is taken hold of

export class Minimap {
  #canvas;
  #view;
  #channels = [];
  #still = null; // the picture without the visible part, which moves alone
  #held = null;

  constructor(canvas, view) {
    this.#canvas = canvas;
    this.#view = view;
    const again = () => this.show(this.#channels);
    new ResizeObserver(again).observe(canvas);
    onTheme(again);
    canvas.addEventListener("pointerdown", (event) => this.#take(event));
    canvas.addEventListener("pointermove", (event) => this.#drag(event));
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, () => {
        this.#held = null;
      });
    }
  }

  /** channels: as the chart's. */
  show(channels) {
    this.#channels = channels;
    if (!this.#canvas.clientWidth || !channels.length) return;
    const { pen, height } = penOf(this.#canvas);
    const scale = this.#scale;
    const each = height / channels.length;
    channels.forEach((channel, i) => {
      const box = { top: i * each + 2, height: each - 4 };
      drawBands(pen, box, scale, channel.coverage, colours());
      drawWaveform(pen, box, scale, channel, false, colours());
    });
    this.#still = createImageBitmap(this.#canvas);
    this.#still.then(() => this.draw(), () => {});
  }

  /** The visible part has moved. */
  async draw() {
    const picture = await this.#still;
    if (!picture || !this.#canvas.clientWidth) return;
    const { pen, width, height } = penOf(this.#canvas);
    pen.drawImage(picture, 0, 0, width, height);
    if (this.#view.whole) return;
    const scale = this.#scale;
    const [left, right] = [scale.x(this.#view.from), scale.x(this.#view.to)];
    const { text, card } = colours();
    pen.fillStyle = card;
    pen.globalAlpha = 0.6;
    pen.fillRect(scale.left, 0, left - scale.left, height);
    pen.fillRect(right, 0, scale.right - right, height);
    pen.globalAlpha = 1;
    pen.strokeStyle = text;
    pen.lineWidth = 1.5;
    pen.strokeRect(left, 0.75, Math.max(3, right - left), height - 1.5);
  }

  get #scale() {
    return new Scale(GUTTER, this.#canvas.clientWidth, 0, this.#view.duration);
  }

  #take({ offsetX, pointerId }) {
    const scale = this.#scale;
    const { from, to, whole, width } = this.#view;
    const time = scale.time(offsetX);
    this.#canvas.setPointerCapture(pointerId);
    if (!whole && Math.abs(offsetX - scale.x(from)) < EDGE) this.#held = { edge: "from" };
    else if (!whole && Math.abs(offsetX - scale.x(to)) < EDGE) this.#held = { edge: "to" };
    else if (!whole && time > from && time < to) this.#held = { grip: time - from };
    else if (whole) this.#held = { start: time };
    else {
      this.#held = { grip: width / 2 };
      this.#view.look(time - width / 2, time + width / 2);
    }
  }

  #drag({ offsetX }) {
    if (!this.#held) return;
    const time = this.#scale.time(offsetX);
    const { from, to, width } = this.#view;
    const { edge, grip, start } = this.#held;
    if (edge === "from") this.#view.look(Math.min(time, to), to);
    else if (edge === "to") this.#view.look(from, Math.max(time, from));
    else if (grip !== undefined) this.#view.look(time - grip, time - grip + width);
    else if (start !== undefined) {
      this.#view.look(Math.min(start, time), Math.max(start, time));
    }
  }
}
