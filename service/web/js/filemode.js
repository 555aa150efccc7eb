// A file: uploaded, shown, played, computed again when a slider moves.

import { detect, render } from "./api.js";
import { peaksOf, Series } from "./recording.js";
import * as screen from "./screen.js";
import { percent } from "./text.js";

const PAUSE_MS = 150; // of a slider, before the server is asked again
const SHORTEST_VIEW_S = 0.5;
const LEAD = 0.1; // share of the view that stays ahead of the playhead

export class FileMode {
  #parts;
  #shown = null; // {file, duration, peaks, probabilities, segments}
  #view = { from: 0, to: 1 };
  #task = new AbortController();
  #timer = 0;

  /** parts: chart, list, player, settings. */
  constructor(parts) {
    this.#parts = parts;
  }

  get file() {
    return this.#shown?.file ?? null;
  }

  /** Sends a file to the server and shows what it finds. */
  async open(file) {
    const signal = this.#newTask();
    screen.say(`Sending ${file.name} …`);
    const answer = await detect(file, this.#parts.settings.params, {
      probabilities: true,
      signal,
      onProgress: (share) => {
        screen.say(share < 1 ? `Sending: ${percent(share)}` : "Listening …");
      },
    });
    this.show({
      file,
      duration: answer.duration,
      peaks: new Series(),
      probabilities: Series.of(answer.frames.probabilities),
      segments: speechOf(answer),
    });
    screen.showAnswerTime(answer.timing, answer.duration);
    this.#tell(answer.warnings);
    await this.#addWaveform(answer);
  }

  /** Shows a result, wherever it comes from. */
  show(result) {
    this.#shown = result;
    this.#view = { from: 0, to: Math.max(result.duration, SHORTEST_VIEW_S) };
    this.#parts.player.load(result.file);
    screen.setMode("file");
    screen.$("source").textContent = result.file.name;
    screen.$("seek").max = result.duration;
    screen.$("play").disabled = false;
    this.#showSegments();
    this.moved(0);
  }

  /** The sliders moved. */
  settingsChanged(onFailure) {
    this.draw();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#again().catch(onFailure), PAUSE_MS);
  }

  /** The playhead moved. */
  moved(time) {
    const { from, to } = this.#view;
    const lead = LEAD * (to - from);
    if (time < from || time > to - lead) this.#look(time - lead, time - lead + (to - from));
    const at = this.#shown.segments.find(({ start, end }) => start <= time && time < end);
    this.#parts.list.mark(at?.id ?? null);
    screen.setLight(at !== undefined);
    screen.setClock(time);
    screen.$("seek").value = time;
    screen.$("seek").setAttribute("aria-valuetext", screen.$("clock-time").textContent);
    this.draw();
  }

  /** Shows 1 / factor of what is seen now, around the playhead if that is seen. */
  zoom(factor) {
    const { from, to } = this.#view;
    const { time } = this.#parts.player;
    const centre = from <= time && time <= to ? time : (from + to) / 2;
    this.#look(centre - (centre - from) / factor, centre + (to - centre) / factor);
    this.draw();
  }

  /** Moves the view by a share of its width. */
  pan(share) {
    const { from, to } = this.#view;
    const shift = share * (to - from);
    this.#look(from + shift, to + shift);
    this.draw();
  }

  draw() {
    const { player, settings, chart } = this.#parts;
    const { thresholds } = settings;
    chart.draw({ ...this.#shown, ...this.#view, thresholds, playhead: player.time, live: false });
  }

  /** Saves the segments in one of the server's formats. */
  async download(format, suffix) {
    const { file } = this.#shown;
    const blob = await render(file, this.#parts.settings.params, format);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${file.name.replace(/\.[^.]*$/, "")}.${suffix}`;
    link.click();
    // Not at once: the browser begins to read after this.
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    screen.say(`Saved ${link.download}.`);
  }

  /** Drops whatever is still under way. */
  leave() {
    this.#newTask();
    clearTimeout(this.#timer);
    this.#parts.player.unload();
    this.#shown = null;
  }

  /** Only the newest request counts; the one before is called off. */
  #newTask() {
    this.#task.abort();
    this.#task = new AbortController();
    return this.#task.signal;
  }

  async #again() {
    const { file } = this.#shown;
    const signal = this.#newTask();
    const answer = await detect(file, this.#parts.settings.params, { signal });
    this.#shown.segments = speechOf(answer);
    this.#showSegments();
    screen.showAnswerTime(answer.timing, answer.duration);
    this.#tell(answer.warnings);
    this.moved(this.#parts.player.time);
  }

  async #addWaveform({ duration }) {
    const shown = this.#shown;
    const peaks = await peaksOf(shown.file, duration);
    if (shown !== this.#shown) return; // another file came meanwhile
    if (peaks) {
      shown.peaks = peaks;
      this.draw();
    } else {
      screen.say(
        `${screen.$("status").textContent} The browser can’t draw this file’s waveform; the result is complete.`,
      );
    }
  }

  #showSegments() {
    const { segments, duration } = this.#shown;
    this.#parts.list.show(segments, { playable: true });
    screen.showTotals(duration, segments.length, total(segments));
  }

  #tell(warnings) {
    const { segments, duration } = this.#shown;
    const found = `Found ${screen.summary(duration, segments.length, total(segments))}.`;
    screen.say([found, ...warnings].join(" "));
  }

  #look(from, to) {
    const { duration } = this.#shown;
    const width = Math.min(Math.max(to - from, SHORTEST_VIEW_S), duration);
    const start = Math.min(Math.max(from, 0), duration - width);
    this.#view = { from: start, to: start + width };
  }
}

/** The segments of an answer that are speech, as the list and the chart take them. */
function speechOf({ segments }) {
  return segments
    .filter(({ label }) => label === "speech")
    .map(({ segment_id: id, start, end, confidence }) => ({ id, start, end, confidence }));
}

export function total(segments) {
  return segments.reduce((sum, { start, end }) => sum + end - start, 0);
}
