// Wires the page together.

import { access, loadedModel, Problem, sample } from "./api.js";
import { Chart } from "./chart.js";
import { FileMode } from "./filemode.js";
import { LiveMode } from "./livemode.js";
import { Player } from "./player.js";
import * as screen from "./screen.js";
import { SegmentList } from "./segments.js";
import { Settings } from "./settings.js";

const { $ } = screen;
const ZOOM = 2;

const chart = new Chart($("chart"), (time) => files.file && seek(time));
const list = new SegmentList($("segments"), ({ start, end }) => player.part(start, end));
const player = new Player($("audio"), {
  onTick: (time) => files.file && files.moved(time),
  onChange: (playing) => {
    $("play").classList.toggle("playing", playing);
    $("play").querySelector("span").textContent = playing ? "Pause" : "Play";
  },
  onUnplayable: () => {
    $("play").disabled = true;
    screen.say(`${$("status").textContent} The browser can’t play this file.`);
  },
});
const settings = new Settings($("settings"), () => {
  if (live.running) live.settingsChanged();
  else if (files.file) files.settingsChanged(failed);
});
const files = new FileMode({ chart, list, player, settings });
const live = new LiveMode({ chart, list, settings }, { stopped: showRecording, failed });

let refused = null; // what the lack of a key kept from happening

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

async function openFile(file) {
  if (live.running) await live.stop();
  await files.open(file);
}

async function talk() {
  if (live.running) return live.stop();
  if (access.needed && !access.key) {
    throw new Problem("This server asks for an API key.", { status: 401 });
  }
  player.pause(); // or the microphone would hear it
  return live.start(() => files.leave());
}

function showRecording(result) {
  if (!result) return screen.setMode("idle");
  files.show(result);
  return screen.say("Stopped. This is now a recording: play it, or move the sliders.");
}

function seek(time) {
  player.seek(time);
  files.moved(time);
}

async function showModel() {
  screen.showModel(await loadedModel());
  $("key-form").hidden = true;
}

function takeDropped({ dataTransfer }) {
  const [file, ...others] = dataTransfer.files;
  if (!file) return;
  attempt(async () => {
    await openFile(file);
    if (others.length) screen.say(`${$("status").textContent} Only the first file is shown.`);
  });
}

$("choose").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", ({ target }) => {
  const [file] = target.files;
  target.value = ""; // so that the same file can be chosen again
  if (file) attempt(() => openFile(file));
});
$("sample").addEventListener("click", () => attempt(async () => openFile(await sample())));
$("mic").addEventListener("click", () => attempt(talk));
$("alert").querySelector("button").addEventListener("click", screen.dismiss);

$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  access.key = $("key").value.trim();
  attempt(async () => {
    await showModel();
    $("choose").focus();
    const action = refused;
    refused = null;
    await action?.();
  }, null);
});

$("play").addEventListener("click", () => player.toggle());
$("seek").addEventListener("input", ({ target }) => seek(target.valueAsNumber));
$("zoom-in").addEventListener("click", () => files.zoom(ZOOM));
$("zoom-out").addEventListener("click", () => files.zoom(1 / ZOOM));
$("chart").addEventListener(
  "wheel",
  (event) => {
    if (!files.file || live.running) return;
    if (event.ctrlKey) files.zoom(event.deltaY < 0 ? ZOOM : 1 / ZOOM);
    else if (event.deltaX) files.pan(event.deltaX / $("chart").clientWidth);
    else return; // the page scrolls
    event.preventDefault();
  },
  { passive: false },
);
$("downloads").addEventListener("click", ({ target }) => {
  const { format, suffix } = target.dataset;
  if (format) attempt(() => files.download(format, suffix));
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
  takeDropped(event);
});

attempt(showModel, null);
