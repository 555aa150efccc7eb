// A lane with the waveform: from the least to the greatest sample, and within it the RMS, so
// that hours, too, show where it is loud and where it is quiet.

import { FRAMES_PER_S } from "./scale.js";

const FLOOR = 0.03; // a recording below this is not blown up to full height
const HEADROOM = 0.94;
const MOSTLY = 0.5; // share of speech from which on a pixel has its colour

export function drawWaveform(pen, box, scale, { outline, coverage }, live, colours) {
  const middle = box.top + box.height / 2;
  const [low, high] = live
    ? [scale.from * FRAMES_PER_S, scale.to * FRAMES_PER_S]
    : [0, outline.length];
  const gain = ((box.height / 2) * HEADROOM) / Math.max(FLOOR, outline.loudest(low, high));
  const paths = {};
  for (const name of ["speech", "speech-soft", "wave", "wave-soft"]) paths[name] = new Path2D();
  // Where a frame is wider than a pixel, one bar a frame.
  const wide = Math.max(1, scale.pixelsPerS / FRAMES_PER_S);
  const first = wide > 1 ? scale.x(Math.floor(scale.from * FRAMES_PER_S) / FRAMES_PER_S) : scale.left;
  for (let x = first; x < scale.right; x += wide) {
    const [from, to] = [scale.time(x), scale.time(x + wide)];
    // By half a frame off the edges, so that rounding takes no neighbour in.
    const slack = wide > 1 ? 0.25 : 0;
    const found = outline.over(from * FRAMES_PER_S + slack, to * FRAMES_PER_S - slack);
    if (!found) {
      if (from >= 0) break;
      continue;
    }
    const name = coverage.share(from, to) >= MOSTLY ? "speech" : "wave";
    const top = middle - Math.max(found.greatest * gain, 0.5);
    const bottom = middle + Math.max(-found.least * gain, 0.5);
    const rms = Math.min(found.rms * gain, Math.max(middle - top, bottom - middle));
    const left = Math.max(x, scale.left); // the first may begin before what is shown
    const width = x + wide - left;
    paths[`${name}-soft`].rect(left, top, width, bottom - top);
    paths[name].rect(left, middle - rms, width, Math.max(1, 2 * rms));
  }
  for (const name of ["wave-soft", "speech-soft", "wave", "speech"]) {
    pen.fillStyle = colours[name];
    pen.fill(paths[name]);
  }
}
