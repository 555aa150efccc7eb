// Lanes over one time axis: for each channel waveform, spectrogram and probability.

import { AXIS, drawAxis } from "./axis.js";
import { drawBands } from "./bands.js";
import { colours, onTheme, penOf } from "./colours.js";
import { drawProbability } from "./probability.js";
import { Scale } from "./scale.js";
import { drawWaveform } from "./waveform.js";

export const GUTTER = 30; // CSS pixels on the left, for the scales
const MOST_CHANNELS = 8;
const GAP = 8;
// Heights of the lanes of one channel, of two, and of more.
const HEIGHTS = [
  { wave: 132, heat: 110, curve: 92 },
  { wave: 92, heat: 80, curve: 62 },
  { wave: 56, heat: 52, curve: 44 },
];

/**
 * What it shows is handed to draw():
 * channels: [{name, outline, probabilities, coverage, heat}], heat null where there is none ·
 * from, to: the visible seconds · thresholds: {threshold, lower} · live: the end is now.
 */
export class Chart {
  #canvas;
  #onDraw;
  scene = null;
  scale = null;

  /** onDraw() after each picture. */
  constructor(canvas, onDraw = () => {}) {
    this.#canvas = canvas;
    this.#onDraw = onDraw;
    const again = () => this.scene && this.draw(this.scene);
    new ResizeObserver(again).observe(canvas);
    onTheme(again);
  }

  draw(scene) {
    this.scene = scene;
    const shown = scene.channels.slice(0, MOST_CHANNELS);
    const lanes = lanesOf(shown);
    const tall = lanes.length ? lanes.at(-1).bottom + GAP + AXIS : 200;
    this.#canvas.style.height = `${tall}px`;
    if (!this.#canvas.clientWidth) return; // not shown
    const { pen, width, height } = penOf(this.#canvas);
    this.scale = new Scale(GUTTER, width, scene.from, scene.to);
    drawAxis(pen, this.scale, height - AXIS, colours());
    for (const lane of lanes) this.#drawLane(pen, lane, scene);
    this.#onDraw();
  }

  #drawLane(pen, { kind, channel, ...box }, { thresholds, live }) {
    const { scale } = this;
    pen.save();
    pen.beginPath();
    pen.rect(0, box.top - 6, scale.right, box.height + 12);
    pen.clip();
    drawBands(pen, box, scale, channel.coverage, colours());
    if (kind === "wave") drawWaveform(pen, box, scale, channel, live, colours());
    if (kind === "curve") drawProbability(pen, box, scale, channel, thresholds, colours());
    if (kind === "heat") channel.heat.draw(pen, box, scale, colours());
    pen.restore();
    if (kind === "wave" && channel.name) drawName(pen, box, channel.name);
  }
}

function lanesOf(channels) {
  const heights = HEIGHTS[Math.min(channels.length, HEIGHTS.length) - 1];
  let top = GAP;
  const lanes = [];
  for (const channel of channels) {
    for (const kind of ["wave", "heat", "curve"]) {
      if (kind === "heat" && !channel.heat) continue;
      const height = heights[kind];
      lanes.push({ kind, channel, top, height, bottom: top + height });
      top += height + GAP;
    }
    top += GAP;
  }
  return lanes;
}

function drawName(pen, box, name) {
  const { text, card } = colours();
  pen.textAlign = "left";
  pen.textBaseline = "middle";
  pen.lineWidth = 3;
  pen.strokeStyle = card;
  pen.strokeText(name, GUTTER + 6, box.top + 9);
  pen.fillStyle = text;
  pen.fillText(name, GUTTER + 6, box.top + 9);
  pen.lineWidth = 1;
}
