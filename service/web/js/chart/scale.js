// From time to pixels and back.

export const FRAMES_PER_S = 100;

export class Scale {
  /** left, right: pixels, at which the seconds from and to are. */
  constructor(left, right, from, to) {
    Object.assign(this, { left, right, from, to });
    this.pixelsPerS = (right - left) / (to - from);
  }

  x(seconds) {
    return this.left + (seconds - this.from) * this.pixelsPerS;
  }

  time(x) {
    return this.from + (x - this.left) / this.pixelsPerS;
  }

  /** The frames [low, high) that the pixel at x shows. */
  frames(x) {
    return [this.time(x) * FRAMES_PER_S, this.time(x + 1) * FRAMES_PER_S];
  }
}
