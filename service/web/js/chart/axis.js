// The time axis.

import { clock } from "../text.js";

const TICKS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200];
const TICK_PX = 72;
export const AXIS = 20; // its height

export function drawAxis(pen, scale, bottom, colours) {
  const { from, to, left, right, pixelsPerS } = scale;
  const step = TICKS.find((s) => s * pixelsPerS >= TICK_PX) ?? TICKS.at(-1);
  pen.fillStyle = colours.muted;
  pen.strokeStyle = colours.line;
  pen.lineWidth = 1;
  pen.textAlign = "center";
  pen.textBaseline = "alphabetic";
  pen.beginPath();
  for (let n = Math.ceil(from / step); n * step <= to; n += 1) {
    const x = Math.round(scale.x(n * step)) + 0.5;
    pen.moveTo(x, 0);
    pen.lineTo(x, bottom);
    const text = clock(n * step, step < 1 ? 1 : 0);
    const half = pen.measureText(text).width / 2;
    pen.fillText(text, Math.min(Math.max(x, half), right - half), bottom + 15);
  }
  pen.moveTo(left, bottom - 0.5);
  pen.lineTo(right, bottom - 0.5);
  pen.stroke();
}
