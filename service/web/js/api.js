// Every HTTP request. URLs are relative to the page, so a proxy's prefix needs no setting.

import { Problem, sentence } from "./problem.js";

export { Problem };

/** The API key lives here only: in memory, for as long as the tab lives. */
export const access = { key: "", needed: false };

const UNREACHABLE =
  "The server can’t be reached, or it broke off. Check that it is still running, then try again.";

/** What the server has loaded: name, hop, latency, device of each. */
export async function loadedModels() {
  let response;
  try {
    response = await fetch(address("v1/models"), { headers: authorization() });
  } catch {
    throw new Problem(UNREACHABLE);
  }
  if (!response.ok) throw problemOf(response.status, await response.text(), response.headers);
  return (await response.json()).models;
}

/** The sample that comes with the page. */
export async function sample() {
  try {
    const response = await fetch(address("web/sample.mp3"));
    if (!response.ok) throw new Error(response.statusText);
    return new File([await response.blob()], "sample.mp3", { type: "audio/mpeg" });
  } catch {
    throw new Problem(UNREACHABLE);
  }
}

/**
 * Where people speak in a file, told line by line while the server works through it.
 * options: signal, onProgress(share of the upload), onLine(object).
 */
export async function analyse(file, params, { signal, onProgress, onLine }) {
  let read = 0;
  let last = null;
  const take = (text, whole) => {
    const end = whole ? text.length : text.lastIndexOf("\n") + 1;
    for (const line of text.slice(read, end).split("\n")) {
      if (!line) continue;
      last = JSON.parse(line);
      if (last.type === "error") throw problemIn(last.problem);
      onLine(last);
    }
    read = end;
  };
  const form = formOf(file);
  const text = await send("page/analysis", params, form, { signal, onProgress, onText: take });
  take(text, true);
  if (last?.type !== "summary") throw new Problem(UNREACHABLE);
}

/**
 * Segments of probabilities that are here already, with any thresholds and in any format.
 * heard: {name, model, samples, source, warnings, channels, probabilities: Blob}.
 */
export function segments(heard, params, format, options = {}) {
  const form = new FormData();
  for (const name of ["name", "model", "samples"]) form.append(name, heard[name]);
  for (const name of ["source", "warnings"]) form.append(name, JSON.stringify(heard[name]));
  form.append("file", heard.probabilities, "probabilities");
  const all = { ...params, channels: heard.channels, response_format: format };
  return send("page/segments", all, form, { ...options, type: "blob" });
}

/** Levels of 64 mel bands, one byte each: [channels, columns, 64]. */
export async function spectrogram(file, params, hopMs, options = {}) {
  const all = { ...params, hop_ms: hopMs };
  const type = "arraybuffer";
  const answer = await send("page/spectrogram", all, formOf(file), { ...options, type });
  return new Uint8Array(answer);
}

/** The audio, or spans [[start, end], …] of it, as a WAV file. */
export function audio(file, params, spans, options = {}) {
  const form = formOf(file);
  if (spans) form.append("spans", JSON.stringify(spans));
  return send("page/audio", params, form, { ...options, type: "blob" });
}

/** Parameters as a query; null ones are the server's to choose. */
export function query(params) {
  const given = Object.entries(params).filter(([, value]) => value !== null);
  return new URLSearchParams(given);
}

/** An address of this server. */
export function address(path) {
  return new URL(path, document.baseURI);
}

function authorization() {
  return access.key ? { Authorization: `Bearer ${access.key}` } : {};
}

function formOf(file) {
  const form = new FormData();
  form.append("file", file, file.name);
  return form;
}

// XMLHttpRequest, because fetch does not tell how much of an upload has gone.
function send(path, params, form, { signal, onProgress, onText, type = "text" }) {
  const request = new XMLHttpRequest();
  return new Promise((resolve, reject) => {
    request.open("POST", address(`${path}?${query(params)}`));
    request.responseType = type;
    for (const [name, value] of Object.entries(authorization())) {
      request.setRequestHeader(name, value);
    }
    request.upload.onprogress = ({ loaded, total }) => onProgress?.(total ? loaded / total : 1);
    request.onprogress = () => {
      if (!onText || request.status !== 200) return;
      try {
        onText(request.responseText, false);
      } catch (problem) {
        request.onabort = null;
        request.abort();
        reject(problem);
      }
    };
    request.onerror = () => reject(new Problem(UNREACHABLE));
    request.onabort = () => reject(new DOMException("superseded", "AbortError"));
    request.onload = async () => {
      const { status, response } = request;
      if (status >= 200 && status < 300) return resolve(response);
      const headers = { get: (name) => request.getResponseHeader(name) };
      return reject(problemOf(status, await new Response(response).text(), headers));
    };
    signal?.addEventListener("abort", () => request.abort(), { once: true });
    if (signal?.aborted) return reject(new DOMException("superseded", "AbortError"));
    request.send(form);
  });
}

function problemOf(status, body, headers) {
  let problem = {};
  try {
    problem = JSON.parse(body);
  } catch {
    // Nothing but the status is known then.
  }
  if (status === 401) {
    access.needed = true;
    return new Problem(
      access.key ? "The server did not accept this API key." : "This server asks for an API key.",
      { status },
    );
  }
  const wait = Number(headers.get("Retry-After"));
  const again = wait > 0 ? ` Try again in ${wait} s.` : "";
  return new Problem(`${sentence(problem, status)}${again}`, { status });
}

function problemIn(problem) {
  return new Problem(sentence(problem, problem.status), { status: problem.status });
}
