// Extremes and sums over any stretch of a growing series, in logarithmic time: a chart of hours
// asks for them a thousand times a picture.

const FACTOR = 8; // values of a level that one value of the next stands for

class Pyramid {
  #join;
  #levels = [{ values: new Float32Array(1024), length: 0 }];

  constructor(join) {
    this.#join = join;
  }

  get length() {
    return this.#levels[0].length;
  }

  at(index) {
    return this.#levels[0].values[index];
  }

  /** Replaces the last value. */
  amend(value) {
    this.#levels[0].values[this.length - 1] = value;
  }

  push(value) {
    let level = 0;
    let added = value;
    for (;;) {
      append(this.#levels[level], added);
      // The last value may still be amended: a level above knows only what lies before it.
      const { values, length } = this.#levels[level];
      const whole = level === 0 ? length - 1 : length;
      if (whole === 0 || whole % FACTOR || (this.#levels[level + 1]?.length ?? 0) * FACTOR >= whole) return;
      this.#levels[level + 1] ??= { values: new Float32Array(128), length: 0 };
      added = values[whole - FACTOR];
      for (let i = whole - FACTOR + 1; i < whole; i += 1) added = this.#join(added, values[i]);
      level += 1;
    }
  }

  /** The values in [first, last), joined; undefined where there are none. */
  over(first, last) {
    let at = Math.max(0, first);
    const end = Math.min(last, this.length);
    let found;
    while (at < end) {
      let level = 0;
      let size = 1;
      while (
        level + 1 < this.#levels.length &&
        at % (size * FACTOR) === 0 &&
        at + size * FACTOR <= end &&
        at / (size * FACTOR) < this.#levels[level + 1].length
      ) {
        level += 1;
        size *= FACTOR;
      }
      const value = this.#levels[level].values[at / size];
      found = found === undefined ? value : this.#join(found, value);
      at += size;
    }
    return found;
  }
}

function append(level, value) {
  if (level.length === level.values.length) {
    const larger = new Float32Array(2 * level.length);
    larger.set(level.values);
    level.values = larger;
  }
  level.values[level.length] = value;
  level.length += 1;
}

/** Numbers whose extremes and mean are asked for. */
export class Series {
  #least = new Pyramid(Math.min);
  #greatest = new Pyramid(Math.max);
  #sum = new Pyramid((a, b) => a + b);

  static of(numbers) {
    const made = new Series();
    made.append(numbers);
    return made;
  }

  get length() {
    return this.#least.length;
  }

  at(index) {
    return this.#least.at(index);
  }

  append(numbers) {
    for (const number of numbers) {
      this.#least.push(number);
      this.#greatest.push(number);
      this.#sum.push(number);
    }
  }

  /** {least, greatest, mean} of [low, high), and at least of the one at low; null past the end. */
  over(low, high) {
    const [first, last] = bounds(low, high);
    const end = Math.min(last, this.length);
    if (first >= end) return null;
    return {
      least: this.#least.over(first, end),
      greatest: this.#greatest.over(first, end),
      mean: this.#sum.over(first, end) / (end - first),
    };
  }
}

/** A waveform's outline: least and greatest sample and mean power of every 10 ms. */
export class Outline {
  #least = new Pyramid(Math.min);
  #greatest = new Pyramid(Math.max);
  #power = new Pyramid((a, b) => a + b);

  get length() {
    return this.#least.length;
  }

  add(least, greatest, power) {
    this.#least.push(least);
    this.#greatest.push(greatest);
    this.#power.push(power);
  }

  /** Replaces the last. */
  amend(least, greatest, power) {
    this.#least.amend(least);
    this.#greatest.amend(greatest);
    this.#power.amend(power);
  }

  /** {least, greatest, rms} of [low, high), and at least of the one at low; null beyond the end. */
  over(low, high) {
    const [first, last] = bounds(low, high);
    const end = Math.min(last, this.length);
    if (first >= end) return null;
    return {
      least: this.#least.over(first, end),
      greatest: this.#greatest.over(first, end),
      rms: Math.sqrt(this.#power.over(first, end) / (end - first)),
    };
  }

  /** The loudest sample of [low, high), without its sign. */
  loudest(low, high) {
    const found = this.over(low, high);
    return found ? Math.max(-found.least, found.greatest) : 0;
  }
}

function bounds(low, high) {
  const first = Math.max(0, Math.floor(low));
  return [first, Math.max(first + 1, Math.ceil(high))];
}
