// One recording and what is known of it: a file that was analysed, or what the microphone heard.

import { floats, shorts } from "./bytes.js";
import { FRAMES_PER_S } from "./chart/scale.js";
import { Coverage } from "./coverage.js";
import { Outline, Series } from "./pyramid.js";

const FULL_SCALE = 32767;
let made = 0;

export class Item {
  key = `item-${(made += 1)}`;
  status = "waiting"; // waiting, working, done or failed
  share = 0; // of the upload, 0 to 1
  problem = null;
  duration = 0;
  channels = []; // {number, name, outline, probabilities, segments, coverage, heat}
  segments = []; // of speech, of all channels, in order of time
  warnings = [];
  timing = null;
  analytics = null; // of channels apart: who spoke how much, and what happened between them
  heard = null; // what the server needs to find segments anew
  recorded = false; // by this page, so that it is nowhere else
  used = null; // the parameters with which the segments were found, as text

  constructor(file) {
    this.file = file;
  }

  get name() {
    return this.file.name;
  }

  get stem() {
    return this.name.replace(/\.[^.]*$/, "");
  }

  /** Seconds of speech; of several channels, their mean. */
  get speech() {
    const all = this.segments.reduce((sum, { start, end }) => sum + end - start, 0);
    return all / Math.max(1, this.channels.length);
  }

  /** It will be analysed again. */
  reset() {
    this.status = "waiting";
    this.problem = null;
  }

  /** Forgets what was found: the analysis begins. */
  empty() {
    Object.assign(this, { share: 0, heard: null, used: null, timing: null, analytics: null, duration: 0 });
    Object.assign(this, { channels: [], segments: [], warnings: [] });
  }

  /** Takes what was found live. */
  fill({ duration, outline, probabilities, segments }) {
    const coverage = new Coverage(segments);
    const channel = { number: 0, name: "", outline, probabilities, coverage, heat: null };
    Object.assign(this, { duration, segments, recorded: true, status: "done", channels: [channel] });
  }

  /** Takes a line of the server's analysis. asked: the value of `channels`. */
  take(line, asked) {
    if (line.type === "opened") this.#open(line, asked);
    else if (line.type === "envelope") line.channels.forEach((text, i) => this.#outline(i, text));
    else if (line.type === "segment") this.#segment(line);
    else if (line.type === "probabilities") {
      line.channels.forEach((text, i) => this.#probabilities(i, text));
    } else if (line.type === "summary") this.#summarise(line, asked);
  }

  /** Takes an answer with other segments. */
  replace({ segments, analytics }) {
    this.analytics = analytics ?? null;
    this.segments = segments.filter(({ label }) => label === "speech").map(spanOf);
    this.segments.sort((a, b) => a.start - b.start);
    for (const channel of this.channels) this.#share(channel);
  }

  #open({ source, samples }, asked) {
    this.source = source;
    this.duration = samples ? samples / source.sample_rate : 0; // an estimate
    const separate = asked === "separate";
    const count = separate ? source.channels : 1;
    const first = Number.isInteger(Number(asked)) ? Number(asked) : 0;
    this.channels = Array.from({ length: count }, (_, i) => ({
      number: first + i,
      name: count > 1 ? `Channel ${i + 1}` : "",
      outline: new Outline(),
      probabilities: new Series(),
      coverage: new Coverage([]),
      heat: null,
    }));
  }

  #outline(index, text) {
    const { outline } = this.channels[index];
    const values = shorts(text);
    for (let i = 0; i < values.length; i += 3) {
      const rms = values[i + 2] / FULL_SCALE;
      outline.add(values[i] / FULL_SCALE, values[i + 1] / FULL_SCALE, rms * rms);
    }
    this.duration = Math.max(this.duration, outline.length / FRAMES_PER_S);
  }

  #segment(line) {
    if (line.label !== "speech") return;
    this.segments.push(spanOf(line));
    const channel = this.channels.find(({ number }) => number === line.channel);
    if (channel) this.#share(channel);
  }

  #share(channel) {
    channel.coverage = new Coverage(
      this.segments.filter((segment) => segment.channel === channel.number),
    );
  }

  #probabilities(index, text) {
    const values = floats(text);
    this.channels[index].probabilities = Series.of(values);
    this.channels[index].exact = values;
  }

  #summarise(line, channels) {
    const { duration, samples, model, source, warnings, timing, analytics = null } = line;
    Object.assign(this, { duration, warnings, timing, model, analytics });
    this.segments.sort((a, b) => a.start - b.start);
    const probabilities = new Blob(this.channels.map(({ exact }) => exact));
    this.heard = { name: this.name, model, samples, source, warnings, channels, probabilities };
    for (const channel of this.channels) delete channel.exact;
  }
}

function spanOf({ channel, segment_id: id, start, end, confidence }) {
  return { channel, id, start, end, confidence };
}
