// The page's own words: mode, messages, light and figures.

import { clock, count, milliseconds, percent, span } from "./text.js";

export const $ = (id) => document.getElementById(id);

/** idle, file or live: the style sheet shows what each has a use for. */
export function setMode(mode) {
  document.body.dataset.mode = mode;
  const live = mode === "live";
  $("mic").classList.toggle("stop", live);
  $("mic").querySelector("span").textContent = live ? "Stop" : "Use the microphone";
  $("two-channels").hidden = true;
}

/** Progress and results, read out politely. */
export function say(text) {
  if ($("status").textContent !== text) $("status").textContent = text;
}

/** A failure, read out at once. It stays until it is dismissed or something works again. */
export function complain(problem) {
  say("");
  $("alert").hidden = false;
  $("alert").querySelector("p").textContent = problem.message;
}

export function dismiss() {
  $("alert").hidden = true;
  $("alert").querySelector("p").textContent = "";
}

export function setLight(on) {
  $("light").classList.toggle("on", on);
  // Untouched while it stays the same: this runs with every frame.
  const text = on ? "Speaking" : "Silence";
  if ($("light-text").textContent !== text) $("light-text").textContent = text;
}

export function setClock(seconds) {
  $("clock-time").textContent = clock(seconds, 1);
}

export function showModel({ name, hop_ms: hop, latency_ms: latency, device }) {
  $("model").hidden = false;
  $("model").textContent = `${name} · one probability every ${hop} ms · on ${device}`;
  $("fig-latency").textContent = `${latency} ms`;
}

/** duration in seconds; segments: those of speech; speech: their seconds; heard: seconds so far. */
export function showTotals(duration, segments, speech, heard = duration) {
  $("fig-duration").textContent = span(duration);
  $("fig-speech").textContent = percent(heard ? Math.min(1, speech / heard) : 0);
  $("fig-segments").textContent = String(segments);
  $("summary").textContent = summary(heard, segments, speech);
}

export function summary(duration, segments, speech) {
  return `${count(segments, "segment")}, ${span(speech)} of speech in ${span(duration)}`;
}

/** What the server spent on a file. */
export function showAnswerTime(timing, duration) {
  const spent = timing.decode_ms + timing.inference_ms;
  const pace = Math.round((duration * 1000) / spent);
  figure("Server time", milliseconds(spent), `${pace.toLocaleString("en")} × real time`);
}

/** What a live stream's starts took: from sending the audio that decided to hearing of it. */
export function showEventDelay(typical, last, starts) {
  if (!starts) return figure("Event delay", "–", "until speech starts");
  return figure("Event delay", milliseconds(typical), `median; last ${milliseconds(last)}`);
}

function figure(name, value, note) {
  $("fig-delay-name").textContent = name;
  $("fig-delay").textContent = value;
  $("fig-delay-note").textContent = note;
}
