// The open recording: shown, played, looked at closely, saved.

import { audio, segments, spectrogram } from "./api.js";
import { showCall } from "./call.js";
import { Heat, hopOf } from "./chart/heat.js";
import { FRAMES_PER_S } from "./chart/scale.js";
import { union } from "./coverage.js";
import { pictureOf } from "./picture.js";
import { save } from "./save.js";
import * as screen from "./screen.js";
import { percent } from "./text.js";

const PAUSE_MS = 120; // of a slider, before the server is asked again
const PICTURE_MS = 250; // least time between two pictures while an analysis goes on

export class FileMode {
  #parts;
  #timer = 0;
  #drawn = 0;
  #task = new AbortController();
  #heat = false; // whether spectrograms are wanted
  item = null;

  /** parts: chart, marks, minimap, list, player, settings, queue, view. */
  constructor(parts) {
    this.#parts = parts;
  }

  /** Opens a recording, whether or not it has been analysed. */
  open(item) {
    const { list, player, view, settings } = this.#parts;
    this.#newTask();
    this.item = item;
    list.show([], {});
    player.load(item.file, () => {
      screen.say("The browser can’t play this format: the server turns it into WAV …");
      return audio(item.file, settings.asked, null);
    });
    screen.setMode("file");
    screen.$("source").textContent = item.name;
    screen.$("save-file").hidden = !item.recorded;
    view.extend(0);
    this.changed(item);
    this.moved(0);
    this.#catchUp();
  }

  /** More is known of a recording. */
  changed(item) {
    if (item !== this.item) return;
    const { view } = this.#parts;
    this.#tell();
    if (item.status === "done") {
      view.extend(item.duration);
      this.#showSegments();
      this.#addHeat();
      this.moved(this.#parts.player.time);
    } else if (performance.now() - this.#drawn > PICTURE_MS) {
      this.#drawn = performance.now();
      view.extend(item.duration);
      this.#showSegments();
    }
  }

  /** The thresholds moved: the open recording first, then the others. */
  settingsChanged(onFailure) {
    this.draw();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#renew().catch(onFailure), PAUSE_MS);
  }

  /** The playhead moved. */
  moved(time) {
    if (!this.item) return;
    const { list, marks, view } = this.#parts;
    if (this.#parts.player.playing) view.follow(time);
    const at = this.item.segments.filter(({ start, end }) => start <= time && time < end);
    list.mark(at);
    screen.setLight(at.length > 0);
    screen.setClock(time);
    screen.$("seek").value = time;
    screen.$("seek").setAttribute("aria-valuetext", screen.$("clock-time").textContent);
    marks.playhead = time;
  }

  draw() {
    if (!this.item) return;
    const { settings, chart, minimap, view } = this.#parts;
    const { from, to } = view;
    const channels = this.item.channels.map((c) => ({ ...c, heat: this.#heat ? c.heat : null }));
    chart.draw({ channels, from, to, thresholds: settings.thresholds, live: false });
    minimap.draw();
  }

  async toggleHeat() {
    this.#heat = !this.#heat;
    screen.$("heat").setAttribute("aria-pressed", String(this.#heat));
    this.draw();
    await this.#addHeat();
  }

  /** Saves the segments in one of the server's formats. */
  async download(format, suffix) {
    const { item } = this;
    const { segmentation } = this.#parts.settings;
    this.#save(await segments(await this.#heard(), segmentation, format), `${item.stem}.${suffix}`);
  }

  /** Saves what the microphone recorded. */
  downloadFile() {
    this.#save(this.item.file, this.item.name);
  }

  /** Saves only what is spoken. */
  async downloadSpeech() {
    const { item } = this;
    screen.say("Cutting out the speech …");
    const spans = union([item.segments]);
    this.#save(await audio(item.file, this.#parts.settings.asked, spans), `${item.stem}.speech.wav`);
  }

  async downloadPicture() {
    const { item } = this;
    const title = `${item.name} · ${this.#found()}`;
    this.#save(await pictureOf(screen.$("chart"), title), `${item.stem}.png`);
  }

  /** Leaves the open recording; it stays in the list. */
  leave() {
    this.#newTask();
    clearTimeout(this.#timer);
    this.#parts.player.unload();
    this.item = null;
  }

  /** What the server needs of the open recording; of a live one, after it has heard it again. */
  async #heard() {
    if (!this.item.heard) {
      await this.#parts.queue.settled(this.item);
    }
    return this.item.heard;
  }

  #save(blob, name) {
    save(blob, name);
    screen.say(`Saved ${name}.`);
  }

  /** Only the newest request counts; the one before is called off. */
  #newTask() {
    this.#task.abort();
    this.#task = new AbortController();
    return this.#task.signal;
  }

  async #renew() {
    const { queue } = this.#parts;
    const signal = this.#newTask();
    const first = this.item;
    for (const item of [first, ...queue.items.filter((other) => other !== first)]) {
      if (item && (await queue.renew(item, signal))) queue.tell(item);
    }
  }

  /** A recording that was not open when the thresholds moved. */
  async #catchUp() {
    const { item } = this;
    if (item.status === "done" && item.heard && (await this.#parts.queue.renew(item, this.#task.signal))) {
      this.#parts.queue.tell(item);
    }
  }

  async #addHeat() {
    const { item } = this;
    if (!this.#heat || !item || item.status !== "done" || item.channels[0].heat || item.drawing) return;
    item.drawing = true;
    screen.say("Drawing the spectrogram …");
    try {
      const hop = hopOf(item.duration);
      const levels = await spectrogram(item.file, this.#parts.settings.asked, hop);
      const size = levels.length / item.channels.length;
      item.channels.forEach((channel, i) => {
        channel.heat = new Heat(levels.subarray(i * size, (i + 1) * size), hop);
      });
    } finally {
      item.drawing = false;
    }
    if (item !== this.item) return;
    this.#tell();
    this.draw();
  }

  #showSegments() {
    const { list, minimap } = this.#parts;
    const { item } = this;
    const { segments, duration, channels, speech, timing, status } = item;
    const options = { playable: true, several: channels.length > 1 };
    if (status === "done") list.show(segments, options);
    else list.extend(segments, options);
    const heard = status === "working" ? duration * heardOf(item) : duration;
    screen.showTotals(duration, segments.length, speech, heard);
    screen.$("seek").max = duration;
    if (timing) screen.showAnswerTime(timing, duration);
    screen.$("two-channels").hidden = !(
      status === "done" && item.source?.channels === 2 && channels.length === 1
    );
    showCall(channels.length > 1 ? item.analytics : null);
    minimap.show(channels);
    this.draw();
  }

  #found() {
    const { segments, duration, speech } = this.item;
    return screen.summary(duration, segments.length, speech);
  }

  #tell() {
    const { status, share, problem, name, warnings } = this.item;
    if (status === "failed") screen.say(`${name}: ${problem.message}`);
    else if (status === "waiting") screen.say(`${name} waits for its turn.`);
    else if (status === "working") {
      screen.say(share < 1 ? `Sending ${name}: ${percent(share)}` : `Listening: ${percent(heardOf(this.item))}`);
    } else screen.say([`Found ${this.#found()}.`, ...warnings].join(" "));
  }
}

/** How much of a recording has been outlined, 0 to 1. */
function heardOf({ channels, duration }) {
  const seconds = (channels[0]?.outline.length ?? 0) / FRAMES_PER_S;
  return duration ? Math.min(1, seconds / duration) : 0;
}
