// Wires the page together.

import { access, address, loadedModels, Problem, sample } from "./api.js";
import { Chart } from "./chart/chart.js";
import { attach } from "./chart/gestures.js";
import { Marks } from "./chart/marks.js";
import { Minimap } from "./chart/minimap.js";
import { Code } from "./code.js";
import { FileList } from "./filelist.js";
import { FileMode } from "./filemode.js";
import { Item } from "./item.js";
import { LiveMode } from "./live/mode.js";
import { Player } from "./player.js";
import { Queue } from "./queue.js";
import * as screen from "./screen.js";
import { SegmentList } from "./segmentlist.js";
import { Settings } from "./settings.js";
import { forFile, forStream } from "./snippets.js";
import { View } from "./view.js";

const { $ } = screen;
const ZOOM = 2;

let models = [];
let refused = null; // what the lack of a key kept from happening

const view = new View(() => files.draw());
const chart = new Chart($("chart"), () => marks.draw());
const marks = new Marks($("marks"), chart);
const minimap = new Minimap($("minimap"), view);
const list = new SegmentList($("segments"), ({ start, end }) => player.part(start, end));
const code = new Code($("code"), screen.say);
const settings = new Settings($("settings"), ({ hearing }) => {
  showCode();
  if (hearing) showModel();
  if (live.running) live.settingsChanged();
  else if (hearing) queue.again();
  else if (files.item) files.settingsChanged(failed);
});
const player = new Player($("audio"), {
  tick: (time) => files.moved(time),
  change: (playing) => {
    $("play").classList.toggle("playing", playing);
    $("play").querySelector("span").textContent = playing ? "Pause" : "Play";
  },
  failed: (problem) => failed(problem),
});
const queue = new Queue(settings, {
  changed: (item) => {
    files.changed(item);
    showFiles();
  },
  failed: (problem, item) => {
    if (item === files.item || queue.items.length === 1) failed(problem);
    else if (problem.status === 401) askForKey();
  },
});
const files = new FileMode({ chart, marks, minimap, list, player, settings, queue, view });
const table = new FileList($("files"), { open: openItem, remove: removeItem });
const live = new LiveMode({ chart, list, settings }, { stopped: showRecording, failed });

/** Runs something that may fail; failures are told in words. `again` is what a key will redo. */
async function attempt(action, again = action) {
  if (live.starting) return screen.say("The browser asks about the microphone: answer it first.");
  screen.dismiss();
  try {
    return await action();
  } catch (problem) {
    if (problem.status === 401) refused = again ?? refused;
    return failed(problem);
  }
}

function failed(problem) {
  if (problem.name === "AbortError") return; // a newer request took its place
  screen.complain(problem);
  if (problem.status === 401) askForKey();
  if (!(problem instanceof Problem)) console.error(problem);
}

function askForKey() {
  $("key-form").hidden = false;
  $("key").focus();
}

async function openFiles(chosen) {
  if (live.running) await live.stop();
  const items = [...chosen].map((file) => new Item(file));
  if (!items.length) return;
  files.open(items[0]);
  queue.add(...items);
  showFiles();
  showCode();
}

function openItem(item) {
  screen.dismiss();
  files.open(item);
  showFiles();
  showCode();
}

function removeItem(item) {
  queue.remove(item);
  if (item === files.item) {
    if (queue.items.length) return openItem(queue.items[0]);
    files.leave();
    screen.setMode("idle");
  }
  showFiles();
}

function showFiles() {
  $("files-card").hidden = queue.items.length < 2 || live.running;
  table.show(queue.items, files.item);
}

async function talk() {
  if (live.running) return live.stop();
  if (access.needed && !access.key) {
    throw new Problem("This server asks for an API key.", { status: 401 });
  }
  player.pause(); // or the microphone would hear it
  await live.start(() => files.leave());
  settings.live = true;
  showModel();
  showFiles();
  showCode();
}

function showRecording(file, found) {
  settings.live = false;
  showModel();
  if (!file) return screen.setMode("idle");
  const item = new Item(file);
  item.fill(found);
  queue.items.push(item);
  openItem(item);
  return screen.say("Stopped. This is now a recording: play it, save it, or move the sliders.");
}

function seek(time) {
  player.seek(time);
  files.moved(time);
}

function showModel() {
  const wanted = settings.asked.model;
  const chosen = models.find(({ name }) => name === wanted) ?? models[0];
  if (chosen) screen.showModel(chosen);
}

async function loadModels() {
  models = await loadedModels();
  settings.offer(models);
  showModel();
  $("key-form").hidden = true;
}

/** Programs for what is on the screen. */
function showCode() {
  const params = settings.changed;
  const what = { address: address(".").href, params, key: access.needed };
  if (live.running) {
    const { channels, encoding, sample_rate: rate, ...rest } = params;
    code.show(forStream({ ...what, params: rest }));
  } else if (files.item) code.show(forFile({ ...what, file: files.item.name }));
}

$("choose").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", ({ target }) => {
  const chosen = [...target.files];
  target.value = ""; // so that the same file can be chosen again
  attempt(() => openFiles(chosen));
});
$("sample").addEventListener("click", () => attempt(async () => openFiles([await sample()])));
$("mic").addEventListener("click", () => attempt(talk));
$("pause").addEventListener("click", () => attempt(() => live.togglePause()));
$("save-recording").addEventListener("click", () => live.save());
$("alert").querySelector("button").addEventListener("click", screen.dismiss);
$("two-channels").querySelector("button").addEventListener("click", () => {
  settings.chooseChannels("separate");
  showCode();
  queue.again();
});

$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  access.key = $("key").value.trim();
  attempt(async () => {
    await loadModels();
    $("choose").focus();
    const action = refused;
    refused = null;
    if (!queue.retry()) await action?.();
  }, null);
});

const centre = () =>
  view.from <= player.time && player.time <= view.to ? player.time : (view.from + view.to) / 2;
$("play").addEventListener("click", () => player.toggle());
$("seek").addEventListener("input", ({ target }) => seek(target.valueAsNumber));
$("zoom-in").addEventListener("click", () => view.zoom(ZOOM, centre()));
$("zoom-out").addEventListener("click", () => view.zoom(1 / ZOOM, centre()));
$("fit").addEventListener("click", () => view.fit());
$("heat").addEventListener("click", () => attempt(() => files.toggleHeat()));
$("save-picture").addEventListener("click", () => attempt(() => files.downloadPicture()));
$("save-speech").addEventListener("click", () => attempt(() => files.downloadSpeech()));
$("save-file").addEventListener("click", () => files.downloadFile());
$("downloads").addEventListener("click", ({ target }) => {
  const { format, suffix } = target.dataset;
  if (format) attempt(() => files.download(format, suffix));
});
attach($("plot"), {
  view,
  marks,
  seek,
  centre,
  toggle: () => player.toggle(),
  scaleOf: () => (files.item && !live.running ? chart.scale : null),
});

document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
});
document.addEventListener("dragleave", ({ relatedTarget }) => {
  if (!relatedTarget) document.body.classList.remove("dragging");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  const dropped = [...event.dataTransfer.files];
  attempt(() => openFiles(dropped));
});

attempt(loadModels, null);
