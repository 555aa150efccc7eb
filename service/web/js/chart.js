// Draws waveform, probability and segments over one time axis.

import { BUCKETS_PER_S } from "./recording.js";
import { clock } from "./text.js";

const GUTTER = 30; // CSS pixels on the left, for the probability's scale
const AXIS = 20; // and at the bottom, for the time
const BAR = 3; // a bar of the waveform with the gap after it
const FLOOR = 0.05; // peaks below this are not blown up to full height
const TICKS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200];
const TICK_PX = 68;
const COLOURS = [
  "text", "muted", "line", "card", "speech", "speech-band", "wave", "probability", "threshold",
];

/**
 * What it shows is handed to draw():
 * peaks, probabilities: Series, one value every 10 ms · segments: [{start, end}] in seconds, in
 * order · from, to: the visible seconds · thresholds: {threshold, lower} · playhead: seconds or
 * null · live: whether the end of the axis is now.
 */
export class Chart {
  #canvas;
  #pen;
  #colours = {};
  #scene = null;
  #hover = null;

  /** onSeek(seconds) at a click. */
  constructor(canvas, onSeek) {
    this.#canvas = canvas;
    this.#pen = canvas.getContext("2d");
    const again = () => this.#scene && this.draw(this.#scene);
    new ResizeObserver(again).observe(canvas);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", () => {
      this.#readColours();
      again();
    });
    this.#readColours();
    canvas.addEventListener("pointermove", ({ offsetX }) => {
      this.#hover = offsetX;
      again();
    });
    canvas.addEventListener("pointerleave", () => {
      this.#hover = null;
      again();
    });
    canvas.addEventListener("click", ({ offsetX }) => {
      if (offsetX >= GUTTER) onSeek(this.#timeAt(offsetX));
    });
  }

  draw(scene) {
    this.#scene = scene;
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    if (!width) return; // not shown
    this.#fit(width, height);
    const bottom = height - AXIS;
    const middle = Math.round(bottom * 0.56);
    this.#wave = { top: 6, height: middle - 14 };
    this.#curve = { top: middle + 2, height: bottom - middle - 6 };
    this.#pen.clearRect(0, 0, width, height);
    this.#drawAxis(width, bottom);
    this.#pen.save();
    this.#pen.beginPath();
    this.#pen.rect(GUTTER, 0, width - GUTTER, bottom);
    this.#pen.clip();
    this.#drawBands(bottom);
    this.#drawWaveform(width);
    this.#drawThresholds(width);
    this.#drawProbability(width);
    this.#pen.restore();
    this.#drawScale();
    this.#drawPlayhead(bottom);
    this.#drawHover(width, bottom);
  }

  #wave;
  #curve;

  #readColours() {
    const style = getComputedStyle(document.documentElement);
    for (const name of COLOURS) this.#colours[name] = style.getPropertyValue(`--${name}`).trim();
  }

  #fit(width, height) {
    const ratio = devicePixelRatio || 1;
    const wide = Math.round(width * ratio);
    const high = Math.round(height * ratio);
    if (this.#canvas.width !== wide || this.#canvas.height !== high) {
      this.#canvas.width = wide;
      this.#canvas.height = high;
    }
    this.#pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.#pen.font = `11px ${getComputedStyle(document.body).fontFamily}`;
  }

  get #pixelsPerS() {
    const { from, to } = this.#scene;
    return (this.#canvas.clientWidth - GUTTER) / (to - from);
  }

  #x(seconds) {
    return GUTTER + (seconds - this.#scene.from) * this.#pixelsPerS;
  }

  #timeAt(x) {
    return this.#scene.from + (x - GUTTER) / this.#pixelsPerS;
  }

  #level(probability) {
    return this.#curve.top + (1 - probability) * this.#curve.height;
  }

  #drawAxis(width, bottom) {
    const { from, to } = this.#scene;
    const step = TICKS.find((s) => s * this.#pixelsPerS >= TICK_PX) ?? TICKS.at(-1);
    const pen = this.#pen;
    pen.fillStyle = this.#colours.muted;
    pen.strokeStyle = this.#colours.line;
    pen.lineWidth = 1;
    pen.textAlign = "center";
    pen.textBaseline = "alphabetic";
    for (let n = Math.ceil(from / step); n * step <= to; n += 1) {
      const x = Math.round(this.#x(n * step)) + 0.5;
      this.#line(x, 0, x, bottom);
      const text = clock(n * step, step < 1 ? 1 : 0);
      const half = pen.measureText(text).width / 2;
      pen.fillText(text, Math.min(Math.max(x, half), width - half), bottom + 15);
    }
    this.#line(GUTTER, bottom - 0.5, width, bottom - 0.5);
  }

  #drawBands(bottom) {
    this.#pen.fillStyle = this.#colours["speech-band"];
    for (const { start, end } of this.#visible()) {
      const x = this.#x(start);
      this.#pen.fillRect(x, 0, Math.max(1, this.#x(end) - x), bottom);
    }
  }

  *#visible() {
    const { segments, from, to } = this.#scene;
    for (const segment of segments) {
      if (segment.start > to) return;
      if (segment.end >= from) yield segment;
    }
  }

  #drawWaveform(width) {
    const { peaks } = this.#scene;
    const { top, height } = this.#wave;
    const middle = top + height / 2;
    const pen = this.#pen;
    const segments = [...this.#visible()];
    const range = (x) => [this.#timeAt(x) * BUCKETS_PER_S, this.#timeAt(x + BAR) * BUCKETS_PER_S];
    // Bars stand on a grid of time, not of the view, so that they don't flicker as it moves.
    const grid = BAR / this.#pixelsPerS;
    const first = Math.floor(this.#scene.from / grid) * grid;
    const loudest = Math.max(FLOOR, this.#extremes(peaks, ...this.#bounds())[1]);
    let next = 0;
    for (let x = this.#x(first); x < width; x += BAR) {
      const [low, high] = range(x);
      if (low >= peaks.length) break;
      const half = Math.max(0.75, (this.#extremes(peaks, low, high)[1] / loudest) * (height / 2));
      const time = this.#timeAt(x + BAR / 2);
      while (next < segments.length && segments[next].end < time) next += 1;
      const speech = next < segments.length && segments[next].start <= time;
      pen.fillStyle = speech ? this.#colours.speech : this.#colours.wave;
      pen.fillRect(x, middle - half, BAR - 1, 2 * half);
    }
  }

  #bounds() {
    const { from, to } = this.#scene;
    return [from * BUCKETS_PER_S, to * BUCKETS_PER_S];
  }

  /** Least and greatest value in [low, high), and at least of the one at low. */
  #extremes(series, low, high) {
    const first = Math.max(0, Math.floor(low));
    const last = Math.min(series.length, Math.max(first + 1, Math.ceil(high)));
    let least = Infinity;
    let greatest = -Infinity;
    for (let i = first; i < last; i += 1) {
      const value = series.at(i);
      if (value < least) least = value;
      if (value > greatest) greatest = value;
    }
    return first < last ? [least, greatest] : [0, 0];
  }

  #drawThresholds(width) {
    const { threshold, lower } = this.#scene.thresholds;
    const pen = this.#pen;
    pen.strokeStyle = this.#colours.threshold;
    for (const [value, dash] of [[threshold, []], [lower, [4, 4]]]) {
      const y = Math.round(this.#level(value)) + 0.5;
      pen.setLineDash(dash);
      this.#line(GUTTER, y, width, y);
    }
    pen.setLineDash([]);
  }

  #drawProbability(width) {
    const { probabilities } = this.#scene;
    const [from, to] = this.#bounds();
    const pen = this.#pen;
    pen.strokeStyle = this.#colours.probability;
    pen.lineWidth = 1.75;
    pen.lineJoin = "round";
    pen.beginPath();
    if (this.#pixelsPerS >= BUCKETS_PER_S) {
      const last = Math.min(probabilities.length, Math.ceil(to) + 1);
      for (let i = Math.max(0, Math.floor(from) - 1); i < last; i += 1) {
        pen.lineTo(this.#x((i + 0.5) / BUCKETS_PER_S), this.#level(probabilities.at(i)));
      }
    } else {
      // Several frames share a pixel: their extremes, so that no short burst goes unseen.
      for (let x = GUTTER; x < width; x += 1) {
        const [low, high] = [this.#timeAt(x), this.#timeAt(x + 1)].map((t) => t * BUCKETS_PER_S);
        if (low >= probabilities.length) break;
        const [least, greatest] = this.#extremes(probabilities, low, high);
        pen.lineTo(x, this.#level(greatest));
        pen.lineTo(x, this.#level(least));
      }
    }
    pen.stroke();
    pen.lineWidth = 1;
  }

  #drawScale() {
    const pen = this.#pen;
    pen.fillStyle = this.#colours.muted;
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    for (const [value, text] of [[1, "1"], [0.5, "0.5"], [0, "0"]]) {
      pen.fillText(text, GUTTER - 7, this.#level(value));
    }
  }

  #drawPlayhead(bottom) {
    const { playhead, from, to } = this.#scene;
    if (playhead === null || playhead < from || playhead > to) return;
    this.#pen.fillStyle = this.#colours.text;
    this.#pen.fillRect(this.#x(playhead) - 0.75, 0, 1.5, bottom);
  }

  /** Time and probability under the pointer. */
  #drawHover(width, bottom) {
    if (this.#hover === null || this.#hover < GUTTER || this.#scene.live) return;
    const { probabilities } = this.#scene;
    const time = this.#timeAt(this.#hover);
    const index = Math.floor(time * BUCKETS_PER_S);
    if (index >= probabilities.length) return;
    const pen = this.#pen;
    const text = `${clock(time)}   p ${probabilities.at(index).toFixed(2)}`;
    const wide = pen.measureText(text).width + 14;
    const left = Math.min(Math.max(this.#hover - wide / 2, GUTTER), width - wide);
    pen.strokeStyle = this.#colours.muted;
    this.#line(this.#hover, 0, this.#hover, bottom);
    pen.fillStyle = this.#colours.text;
    pen.beginPath();
    pen.roundRect(left, 2, wide, 20, 5);
    pen.fill();
    pen.fillStyle = this.#colours.card;
    pen.textAlign = "left";
    pen.textBaseline = "middle";
    pen.fillText(text, left + 7, 12.5);
  }

  #line(x1, y1, x2, y2) {
    this.#pen.beginPath();
    this.#pen.moveTo(x1, y1);
    this.#pen.lineTo(x2, y2);
    this.#pen.stroke();
  }
}
