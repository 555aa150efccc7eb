// Every HTTP request. URLs are relative to the page, so a proxy's prefix needs no setting.

/** A failure in words that can be shown as they are. */
export class Problem extends Error {
  constructor(message, { status = 0 } = {}) {
    super(message);
    this.name = "Problem";
    this.status = status;
  }
}

/** The API key lives here only: in memory, for as long as the tab lives. */
export const access = { key: "", needed: false };

const UNREACHABLE =
  "The server can’t be reached, or it broke off. Check that it is still running, then try again.";

/** What the server has loaded: name, hop, latency, device. */
export async function loadedModel() {
  let response;
  try {
    response = await fetch(new URL("v1/models", document.baseURI), { headers: authorization() });
  } catch {
    throw new Problem(UNREACHABLE);
  }
  if (!response.ok) throw problemOf(response.status, await response.text(), response.headers);
  return (await response.json()).models[0];
}

/** The sample that comes with the page. */
export async function sample() {
  try {
    const response = await fetch(new URL("web/sample.mp3", document.baseURI));
    if (!response.ok) throw new Error(response.statusText);
    return new File([await response.blob()], "sample.mp3", { type: "audio/mpeg" });
  } catch {
    throw new Problem(UNREACHABLE);
  }
}

/** Where people speak in a file: the JSON answer as an object. */
export async function detect(file, params, options = {}) {
  const { probabilities = false, ...rest } = options;
  const query = probabilities ? { ...params, include: "probabilities" } : params;
  return JSON.parse(await (await upload(file, query, rest)).text());
}

/** The same in one of the server's formats, as a blob to be saved. */
export function render(file, params, format) {
  return upload(file, { ...params, response_format: format }, {});
}

function authorization() {
  return access.key ? { Authorization: `Bearer ${access.key}` } : {};
}

/** Parameters as a query; null ones are the server's to choose. */
export function query(params) {
  const given = Object.entries(params).filter(([, value]) => value !== null);
  return new URLSearchParams(given);
}

// XMLHttpRequest, because fetch does not tell how much of an upload has gone.
function upload(file, params, { signal, onProgress }) {
  const form = new FormData();
  form.append("file", file, file.name);
  const request = new XMLHttpRequest();
  return new Promise((resolve, reject) => {
    request.open("POST", new URL(`v1/vad?${query(params)}`, document.baseURI));
    request.responseType = "blob";
    for (const [name, value] of Object.entries(authorization())) {
      request.setRequestHeader(name, value);
    }
    request.upload.onprogress = ({ loaded, total }) => onProgress?.(total ? loaded / total : 1);
    request.onerror = () => reject(new Problem(UNREACHABLE));
    request.onabort = () => reject(new DOMException("superseded", "AbortError"));
    request.onload = async () => {
      const { status, response } = request;
      if (status >= 200 && status < 300) return resolve(response);
      const headers = { get: (name) => request.getResponseHeader(name) };
      return reject(problemOf(status, await response.text(), headers));
    };
    signal?.addEventListener("abort", () => request.abort(), { once: true });
    request.send(form);
  });
}

/** An answer's problem+json in words; a proxy's own error page has none, only its status. */
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

function sentence({ title, detail }, status) {
  if (!title) return `The server answered with status ${status} and no reason.`;
  const text = detail && detail !== title ? `${title}: ${detail}` : title;
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
