// How much of a stretch of time is speech.

export class Coverage {
  #starts;
  #ends;
  #before = [0]; // seconds of speech before each segment

  /** segments: [{start, end}] in order, without overlap. */
  constructor(segments) {
    this.#starts = segments.map(({ start }) => start);
    this.#ends = segments.map(({ end }) => end);
    for (const { start, end } of segments) this.#before.push(this.#before.at(-1) + end - start);
  }

  /** The share of [from, to] that is speech, 0 to 1. */
  share(from, to) {
    if (!(to > from)) return 0;
    return Math.min(1, (this.#until(to) - this.#until(from)) / (to - from));
  }

  #until(time) {
    let low = 0;
    let high = this.#starts.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#starts[middle] < time) low = middle + 1;
      else high = middle;
    }
    if (!low) return 0;
    return this.#before[low - 1] + Math.min(time, this.#ends[low - 1]) - this.#starts[low - 1];
  }
}

/** Spans of several lists as one list without overlap. */
export function union(lists) {
  const merged = [];
  for (const { start, end } of lists.flat().sort((a, b) => a.start - b.start)) {
    const last = merged.at(-1);
    if (last && start <= last[1]) last[1] = Math.max(last[1], end);
    else merged.push([start, end]);
  }
  return merged;
}
