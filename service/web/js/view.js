// Which part of the time is seen.

const SHORTEST_S = 0.5;
const LEAD = 0.1; // share of the view that stays ahead of the playhead

export class View {
  from = 0;
  to = 1;
  #duration = 1;
  #onChange;

  /** onChange() whenever another part is seen. */
  constructor(onChange) {
    this.#onChange = onChange;
  }

  get width() {
    return this.to - this.from;
  }

  get duration() {
    return this.#duration;
  }

  /** Whether all is seen. */
  get whole() {
    return this.width >= this.#duration - 1e-6;
  }

  /** Another recording, or more of it: all of it is seen, unless only a part was. */
  extend(duration) {
    const whole = this.whole;
    this.#duration = Math.max(duration, SHORTEST_S);
    if (whole) this.fit();
    else this.look(this.from, this.to);
  }

  fit() {
    this.look(0, this.#duration);
  }

  look(from, to) {
    const width = Math.min(Math.max(to - from, SHORTEST_S), this.#duration);
    const middle = (from + to) / 2;
    const start = Math.min(Math.max(middle - width / 2, 0), this.#duration - width);
    this.from = start;
    this.to = start + width;
    this.#onChange();
  }

  /** Shows 1 / factor of what is seen now; what is at `centre` stays where it is. */
  zoom(factor, centre) {
    const width = Math.min(Math.max(this.width / factor, SHORTEST_S), this.#duration);
    const share = (centre - this.from) / this.width;
    const from = centre - share * width;
    this.look(from, from + width);
  }

  /** Moves by a share of what is seen. */
  pan(share) {
    const shift = Math.min(
      Math.max(share * this.width, -this.from),
      this.#duration - this.to,
    );
    this.look(this.from + shift, this.to + shift);
  }

  /** Goes where the playhead is, if it is not seen. */
  follow(time) {
    const lead = LEAD * this.width;
    if (this.whole || (time >= this.from && time <= this.to - lead)) return;
    if (time > this.to - lead && this.to >= this.#duration - 1e-6 && time <= this.to) return;
    this.look(time - lead, time - lead + this.width);
  }
}
