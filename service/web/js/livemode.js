// The microphone: streamed, shown while it comes, and afterwards a recording like any file.

import { Problem } from "./api.js";
import { total } from "./filemode.js";
import { LiveStream } from "./live.js";
import { Microphone } from "./microphone.js";
import { BUCKETS_PER_S, Recording, Series } from "./recording.js";
import * as screen from "./screen.js";
import { median } from "./text.js";

const WINDOW_S = 12; // of the chart
const MOST_RECORDED_S = 600; // the page keeps what it records in memory
const UPDATE_MS = 80; // least time between two session.update while a slider moves
const MOST_LAG_S = 1; // of the results behind the sound, before it is mentioned
const CALM_MS = 500; // between pictures, for those who asked for less motion

export class LiveMode {
  #parts;
  #handlers;
  #microphone = null;
  #stream = null;
  #recording = null;
  #probabilities = null;
  #segments = []; // {id, start, end, confidence}; without an end while still open
  #delays = [];
  #timer = 0;
  #running = false;
  #starting = false;

  /**
   * parts: chart, list, settings. handlers.stopped(result) hears of the end, with the recording
   * and what was found in it, or null if there is none; handlers.failed(problem) of a failure.
   */
  constructor(parts, handlers) {
    this.#parts = parts;
    this.#handlers = handlers;
  }

  get running() {
    return this.#running;
  }

  /** While the browser asks its user, and the server is called. */
  get starting() {
    return this.#starting;
  }

  /** Opens microphone and stream, then calls onOpen; throws a Problem if either is refused. */
  async start(onOpen) {
    this.#starting = true;
    screen.say("Waiting for the microphone …");
    try {
      await this.#open();
    } finally {
      this.#starting = false;
    }
    onOpen();
    this.#running = true;
    screen.setMode("live");
    screen.$("source").textContent = `Microphone, ${this.#microphone.rate / 1000} kHz`;
    this.#parts.list.show([], { playable: false });
    screen.showEventDelay(0, 0, 0);
    this.#draw();
  }

  /** Ends in good order: the server's last events are waited for. */
  async stop() {
    if (!this.#running) return;
    this.#running = false;
    await this.#microphone.stop();
    screen.say("Waiting for the last results …");
    await this.#stream.end();
    this.#finish();
    if (!this.#stream.complete) {
      this.#handlers.failed(new Problem("The server did not answer to the end. Some is missing."));
    }
  }

  settingsChanged() {
    // One message for many moves of a slider, and always one for the last.
    if (this.#timer) return;
    this.#timer = setTimeout(() => {
      this.#timer = 0;
      if (this.#running) this.#stream.update(this.#parts.settings.params);
    }, UPDATE_MS);
  }

  async #open() {
    this.#microphone = await Microphone.open();
    try {
      this.#begin(this.#microphone.rate);
      this.#microphone.start(
        (samples) => this.#heard(samples),
        () => this.#lost(new Problem("The microphone was disconnected.")),
      );
      await this.#stream.open(this.#parts.settings.params);
    } catch (problem) {
      await this.#microphone.stop();
      throw problem;
    }
  }

  #begin(rate) {
    this.#recording = new Recording(rate);
    this.#probabilities = new Series();
    this.#segments = [];
    this.#delays = [];
    this.#stream = new LiveStream(rate, {
      event: (message, delay) => this.#event(message, delay),
      lost: (problem) => this.#lost(problem),
    });
  }

  #heard(samples) {
    if (!this.#running && !this.#starting) return;
    this.#recording.add(samples);
    this.#stream.send(samples);
    if (this.#recording.duration >= MOST_RECORDED_S) this.stop();
  }

  #event(message, delay) {
    if (message.type === "probabilities") {
      const first = Math.round((message.from_ms * BUCKETS_PER_S) / 1000);
      message.values.forEach((value, i) => this.#probabilities.set(first + i, value));
    } else if (message.type === "speech_started") {
      const { segment_id: id, audio_start_ms: start } = message;
      this.#delays.push(delay);
      screen.showEventDelay(median(this.#delays), delay, this.#delays.length);
      this.#put({ id, start: start / 1000 });
    } else if (message.type === "speech_stopped") {
      const { segment_id: id, audio_start_ms: start, audio_end_ms: end, confidence } = message;
      this.#put({ id, start: start / 1000, end: end / 1000, confidence });
    } else if (message.type === "speech_discarded") {
      this.#segments = this.#segments.filter(({ id }) => id !== message.segment_id);
      this.#parts.list.remove(message.segment_id);
    } else if (message.type === "error" && !message.fatal) {
      screen.complain(message);
    }
  }

  #put(segment) {
    this.#segments = [...this.#segments.filter(({ id }) => id !== segment.id), segment];
    this.#parts.list.put(segment);
  }

  #draw() {
    if (!this.#running) return;
    const now = this.#recording.duration;
    const heard = this.#probabilities.length / BUCKETS_PER_S;
    const to = Math.max(now, WINDOW_S);
    const segments = this.#segments.map((s) => ({ end: Math.max(heard, s.start), ...s }));
    this.#parts.chart.draw({
      peaks: this.#recording.peaks,
      probabilities: this.#probabilities,
      segments,
      from: to - WINDOW_S,
      to,
      thresholds: this.#parts.settings.thresholds,
      playhead: null,
      live: true,
    });
    screen.setLight(this.#segments.some(({ end }) => end === undefined));
    screen.setClock(now);
    screen.showTotals(now, segments.length, total(segments));
    this.#tellLag(now - heard);
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const again = () => requestAnimationFrame(() => this.#draw());
    if (calm) setTimeout(again, CALM_MS);
    else again();
  }

  #tellLag(seconds) {
    const text =
      seconds < MOST_LAG_S
        ? "Live. What you say is recorded in this tab only."
        : "The server is more than a second behind: it has too much to do.";
    if (text !== screen.$("status").textContent) screen.say(text);
  }

  async #lost(problem) {
    if (!this.#running) return;
    this.#running = false;
    await this.#microphone.stop();
    await this.#stream.end();
    this.#finish();
    this.#handlers.failed(problem);
  }

  #finish() {
    const { duration, peaks } = this.#recording;
    // What a lost server could not end any more ends with the recording.
    const segments = this.#segments.map((s) => ({ end: duration, confidence: null, ...s }));
    const probabilities = this.#probabilities;
    const file = this.#recording.wav();
    this.#handlers.stopped(duration ? { file, duration, peaks, probabilities, segments } : null);
  }
}
