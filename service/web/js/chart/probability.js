// A lane with the probability of speech and the thresholds.

import { FRAMES_PER_S } from "./scale.js";

export function drawProbability(pen, box, scale, { probabilities }, thresholds, colours) {
  const level = (probability) => box.top + (1 - probability) * box.height;
  drawThresholds(pen, level, scale, thresholds, colours);
  pen.strokeStyle = colours.probability;
  pen.lineWidth = 1.5;
  pen.lineJoin = "round";
  pen.beginPath();
  if (scale.pixelsPerS >= FRAMES_PER_S) {
    const last = Math.min(probabilities.length, Math.ceil(scale.to * FRAMES_PER_S) + 1);
    for (let i = Math.max(0, Math.floor(scale.from * FRAMES_PER_S) - 1); i < last; i += 1) {
      pen.lineTo(scale.x((i + 0.5) / FRAMES_PER_S), level(probabilities.at(i)));
    }
  } else {
    // Several frames share a pixel: their extremes, so that no short burst goes unseen.
    for (let x = scale.left; x < scale.right; x += 1) {
      const found = probabilities.extremes(...scale.frames(x));
      if (!found) break;
      pen.lineTo(x + 0.5, level(found[1]));
      pen.lineTo(x + 0.5, level(found[0]));
    }
  }
  pen.stroke();
  pen.lineWidth = 1;
  drawNumbers(pen, level, scale.left, colours);
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
