// A lane with the probability of speech and the thresholds.

import { FRAMES_PER_S } from "./scale.js";

export function drawProbability(pen, box, scale, { probabilities }, thresholds, colours) {
  const level = (probability) => box.top + (1 - probability) * box.height;
  pen.strokeStyle = colours.probability;
  pen.lineWidth = 1.5;
  pen.lineJoin = "round";
  if (scale.pixelsPerS >= FRAMES_PER_S) drawFrames(pen, level, scale, probabilities);
  else drawMeans(pen, level, scale, probabilities, colours);
  pen.lineWidth = 1;
  drawThresholds(pen, level, scale, thresholds, colours);
  drawNumbers(pen, level, scale.left, colours);
}

function drawFrames(pen, level, scale, probabilities) {
  pen.save();
  pen.beginPath();
  pen.rect(scale.left, level(1) - 2, scale.right - scale.left, level(0) - level(1) + 4);
  pen.clip();
  pen.beginPath();
  const last = Math.min(probabilities.length, Math.ceil(scale.to * FRAMES_PER_S) + 1);
  for (let i = Math.max(0, Math.floor(scale.from * FRAMES_PER_S) - 1); i < last; i += 1) {
    pen.lineTo(scale.x((i + 0.5) / FRAMES_PER_S), level(probabilities.at(i)));
  }
  pen.stroke();
  pen.restore();
}

/** Many frames share a pixel: their mean, and behind it from the least to the greatest. */
function drawMeans(pen, level, scale, probabilities, colours) {
  const range = new Path2D();
  const means = new Path2D();
  for (let x = scale.left; x < scale.right; x += 1) {
    const found = probabilities.over(...scale.frames(x));
    if (!found) break;
    const top = level(found.greatest);
    range.rect(x, top, 1, Math.max(1, level(found.least) - top));
    means.lineTo(x + 0.5, level(found.mean));
  }
  pen.fillStyle = colours["probability-soft"];
  pen.fill(range);
  pen.stroke(means);
}

function drawThresholds(pen, level, scale, { threshold, lower }, colours) {
  pen.strokeStyle = colours.threshold;
  for (const [value, dash] of [[threshold, []], [lower, [4, 4]]]) {
    const y = Math.round(level(value)) + 0.5;
    pen.setLineDash(dash);
    pen.beginPath();
    pen.moveTo(scale.left, y);
    pen.lineTo(scale.right, y);
    pen.stroke();
  }
  pen.setLineDash([]);
}

function drawNumbers(pen, level, left, colours) {
  pen.fillStyle = colours.muted;
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  for (const [value, text] of [[1, "1"], [0.5, "0.5"], [0, "0"]]) {
    pen.fillText(text, left - 7, level(value));
  }
}
