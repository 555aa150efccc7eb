// The microphone: streamed, shown while it comes, and afterwards a recording like any file.

import { Problem } from "../api.js";
import { FRAMES_PER_S } from "../chart/scale.js";
import { Coverage } from "../coverage.js";
import { Series } from "../pyramid.js";
import { save } from "../save.js";
import * as screen from "../screen.js";
import { median } from "../text.js";
import { EventLog } from "./eventlog.js";
import { Microphone } from "./microphone.js";
import { Recording } from "./recording.js";
import { LiveStream } from "./stream.js";

const WINDOW_S = 12; // of the chart
const MOST_RECORDED_S = 1800; // the page keeps what it records in memory
const UPDATE_MS = 80; // least time between two session.update while a slider moves
const KEEPALIVE_MS = 5000;
const MOST_LAG_S = 1; // of the results behind the sound, before it is mentioned
const CALM_MS = 500; // between pictures, for those who asked for less motion

export class LiveMode {
  #parts;
  #handlers;
  #log;
  #microphone = null;
  #stream = null;
  #recording = null;
  #probabilities = null;
  #segments = []; // {channel, id, start, end, confidence}; without an end while still open
  #delays = [];
  #timer = 0;
  #alive = 0;
  #running = false;
  #starting = false;
  #paused = false;

  /**
   * parts: chart, list, settings. handlers.stopped(file, found) hears of the end, with the
   * recording and what was found in it, or null if there is none; handlers.failed(problem).
   */
  constructor(parts, handlers) {
    this.#parts = parts;
    this.#handlers = handlers;
    this.#log = new EventLog(screen.$("events"));
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
    this.#showPaused(false);
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
    clearInterval(this.#alive);
    await this.#microphone.stop();
    screen.say("Waiting for the last results …");
    await this.#stream.end();
    this.#finish();
    if (!this.#stream.complete) {
      this.#handlers.failed(new Problem("The server did not answer to the end. Some is missing."));
    }
  }

  /** Time stands still until it goes on: the recording has no gap. */
  async togglePause() {
    if (!this.#running) return;
    this.#showPaused(!this.#paused);
    clearInterval(this.#alive);
    if (this.#paused) {
      this.#alive = setInterval(() => this.#stream.keepAlive(), KEEPALIVE_MS);
      await this.#microphone.pause();
    } else await this.#microphone.resume();
  }

  /** Saves what has been recorded so far. */
  save() {
    const file = this.#recording.wav();
    save(file, file.name);
    screen.say(`Saved ${file.name}.`);
  }

  settingsChanged() {
    // One message for many moves of a slider, and always one for the last.
    if (this.#timer) return;
    this.#timer = setTimeout(() => {
      this.#timer = 0;
      if (this.#running) this.#stream.update(this.#parts.settings.segmentation);
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
      const { segmentation, asked } = this.#parts.settings;
      await this.#stream.open({ ...segmentation, model: asked.model });
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
    this.#log.clear();
    this.#stream = new LiveStream(rate, {
      event: (message, delay) => this.#event(message, delay),
      lost: (problem) => this.#lost(problem),
    });
  }

  #showPaused(paused) {
    this.#paused = paused;
    screen.$("pause").querySelector("span").textContent = paused ? "Go on" : "Pause";
    screen.$("pause").classList.toggle("paused", paused);
  }

  #heard(samples) {
    if (this.#paused || (!this.#running && !this.#starting)) return;
    this.#recording.add(samples);
    this.#stream.send(samples);
    if (this.#recording.duration >= MOST_RECORDED_S) this.stop();
  }

  #event(message, delay) {
    this.#log.add(message, delay, this.#recording.duration);
    if (message.type === "probabilities") {
      this.#probabilities.append(message.values);
    } else if (message.type === "speech_started") {
      this.#delays.push(delay);
      screen.showEventDelay(median(this.#delays), delay, this.#delays.length);
      this.#put(segmentOf(message));
    } else if (message.type === "speech_stopped") {
      this.#put(segmentOf(message));
    } else if (message.type === "speech_discarded") {
      this.#segments = this.#segments.filter(({ id }) => id !== message.segment_id);
      this.#parts.list.remove({ channel: 0, id: message.segment_id });
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
    const heard = this.#probabilities.length / FRAMES_PER_S;
    const to = Math.max(now, WINDOW_S);
    const segments = this.#segments.map((s) => ({ end: Math.max(heard, s.start), ...s }));
    const channel = {
      name: "",
      outline: this.#recording.outline,
      probabilities: this.#probabilities,
      coverage: new Coverage(segments),
      heat: null,
    };
    const { thresholds } = this.#parts.settings;
    this.#parts.chart.draw({ channels: [channel], from: to - WINDOW_S, to, thresholds, live: true });
    screen.setLight(!this.#paused && this.#segments.some(({ end }) => end === undefined));
    screen.setClock(now);
    const speech = segments.reduce((sum, { start, end }) => sum + end - start, 0);
    screen.showTotals(now, segments.length, speech);
    this.#tell(now - heard);
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const again = () => requestAnimationFrame(() => this.#draw());
    if (calm) setTimeout(again, CALM_MS);
    else again();
  }

  #tell(lag) {
    let text = "Live. What you say is recorded in this tab only.";
    if (this.#paused) text = "Paused. Nothing is heard or sent.";
    else if (lag >= MOST_LAG_S) {
      text = "The server is more than a second behind: it has too much to do.";
    }
    if (text !== this.#told) screen.say(text);
    this.#told = text;
  }

  #told = "";

  async #lost(problem) {
    if (!this.#running) return;
    this.#running = false;
    clearInterval(this.#alive);
    await this.#microphone.stop();
    await this.#stream.end();
    this.#finish();
    this.#handlers.failed(problem);
  }

  #finish() {
    this.#told = "";
    const { duration, outline } = this.#recording;
    if (!duration) return this.#handlers.stopped(null, null);
    // What a lost server could not end any more ends with the recording.
    const segments = this.#segments.map((s) => ({ end: duration, confidence: null, ...s }));
    const probabilities = this.#probabilities;
    const found = { duration, outline, probabilities, segments };
    return this.#handlers.stopped(this.#recording.wav(), found);
  }
}

function segmentOf({ segment_id: id, audio_start_ms: start, audio_end_ms: end, confidence }) {
  const known = { channel: 0, id, start: start / 1000 };
  return end === undefined ? known : { ...known, end: end / 1000, confidence };
}
