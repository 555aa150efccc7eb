// A lane with the spectrogram: mel bands from 60 Hz (below) to 7.6 kHz.

export const BANDS = 64;
const MOST_COLUMNS = 65_536; // of a file: an hour has one every 80 ms
const FRAME_MS = 10;
const LOUDEST = 0.999; // quantile of levels that has the strongest colour
const RANGE = 64 * 2.55; // 64 dB below it the weakest

/** How far apart the columns of so many seconds stand. */
export function hopOf(seconds) {
  let hop = FRAME_MS;
  while ((seconds * 1000) / hop > MOST_COLUMNS) hop *= 2;
  return hop;
}

export class Heat {
  #levels;
  #top;

  /** levels: [columns, 64] bytes, one column every hopMs. */
  constructor(levels, hopMs) {
    this.#levels = levels;
    this.hopMs = hopMs;
    this.#top = quantile(levels, LOUDEST);
  }

  draw(pen, box, scale, colours) {
    const width = Math.round(scale.right - scale.left);
    if (width < 1) return;
    const picture = new OffscreenCanvas(width, BANDS);
    const brush = picture.getContext("2d");
    const image = brush.createImageData(width, BANDS);
    this.#paint(new Uint32Array(image.data.buffer), width, scale, palette(colours));
    brush.putImageData(image, 0, 0);
    pen.imageSmoothingEnabled = true;
    pen.drawImage(picture, scale.left, box.top, scale.right - scale.left, box.height);
    pen.fillStyle = colours.muted;
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    for (const [hertz, text] of [[500, ".5k"], [2000, "2k"], [7000, "7k"]]) {
      pen.fillText(text, scale.left - 7, box.top + (1 - place(hertz)) * box.height);
    }
  }

  #paint(pixels, width, scale, shades) {
    const columns = this.#levels.length / BANDS;
    const perS = 1000 / this.hopMs;
    const bottom = this.#top - RANGE;
    for (let x = 0; x < width; x += 1) {
      const first = Math.floor(scale.time(scale.left + x) * perS);
      const last = Math.max(first + 1, Math.floor(scale.time(scale.left + x + 1) * perS));
      if (first >= columns) break;
      if (first < 0) continue;
      const step = Math.max(1, Math.floor((last - first) / 8)); // enough of many
      for (let band = 0; band < BANDS; band += 1) {
        let level = 0;
        for (let column = first; column < last && column < columns; column += step) {
          level = Math.max(level, this.#levels[column * BANDS + band]);
        }
        const shade = Math.min(255, Math.max(0, ((level - bottom) / RANGE) * 255));
        pixels[(BANDS - 1 - band) * width + x] = shades[shade | 0];
      }
    }
  }
}

/** Where in the lane a frequency is, 0 to 1. */
function place(hertz) {
  const mel = (f) => 2595 * Math.log10(1 + f / 700);
  return (mel(hertz) - mel(60)) / (mel(7600) - mel(60));
}

function quantile(levels, share) {
  const counts = new Uint32Array(256);
  for (const level of levels) counts[level] += 1;
  let left = levels.length * (1 - share);
  for (let level = 255; level > 0; level -= 1) {
    left -= counts[level];
    if (left <= 0) return level;
  }
  return 255;
}

/** 256 colours as pixels have them. */
function palette(colours) {
  const stops = [0, 1, 2, 3].map((i) => rgb(colours[`heat-${i}`]));
  return Uint32Array.from({ length: 256 }, (_, i) => {
    const at = (i / 255) * (stops.length - 1);
    const low = Math.min(Math.floor(at), stops.length - 2);
    const mixed = stops[low].map((c, k) => Math.round(c + (at - low) * (stops[low + 1][k] - c)));
    return ((255 << 24) | (mixed[2] << 16) | (mixed[1] << 8) | mixed[0]) >>> 0;
  });
}

function rgb(hex) {
  return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
}
