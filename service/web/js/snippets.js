// Programs that do what the screen shows: texts to be copied.

/**
 * what: {address, file, params, key}: the service's address, the file's name, the parameters
 * that differ from the defaults, and whether a key is needed.
 */
export function forFile(what) {
  return { curl: curl(what), python: python(what), javascript: javascript(what) };
}

/** The same of a stream from the microphone. */
export function forStream(what) {
  return { curl: pipe(what), python: pythonStream(what), javascript: javascriptStream(what) };
}

function curl({ address, file, params, key }) {
  const parts = ["curl -sS"];
  if (key) parts.push(`-H "Authorization: Bearer $VAD_API_KEY"`);
  parts.push(`-F ${shell(`file=@${formName(file)}`)}`, shell(url(address, "v1/vad", params)));
  const line = parts.join(" ");
  return line.length <= 80 ? line : parts.join(" \\\n  ");
}

function python({ address, file, params, key }) {
  return `# pip install '.[client]' in a checkout of convad
${key ? "import os\n\n" : ""}from vad.client import Client

with Client(${py(address)}${key ? ', api_key=os.environ["VAD_API_KEY"]' : ""}) as client:
    found = client.detect(${[py(file), ...keywords(params)].join(", ")})

for segment in found.speech:
    print(segment.start, segment.end, segment.confidence)`;
}

function javascript({ address, file, params, key }) {
  const header = key ? "\n  headers: { Authorization: `Bearer ${process.env.VAD_API_KEY}` }," : "";
  return `// Node.js; in a browser, take the file from an <input type="file">.
import { openAsBlob } from "node:fs";

const form = new FormData();
form.append("file", await openAsBlob(${JSON.stringify(file)}), ${JSON.stringify(file)});
const response = await fetch(${JSON.stringify(url(address, "v1/vad", params))}, {
  method: "POST",${header}
  body: form,
});
if (!response.ok) throw new Error(await response.text());
const { segments } = await response.json();
for (const { label, start, end, confidence } of segments) {
  if (label === "speech") console.log(start, end, confidence);
}`;
}

function pipe({ address, params, key }) {
  const header = key ? `\n    -H "Authorization: Bearer $VAD_API_KEY"` : "";
  const all = { encoding: "pcm_s16le", sample_rate: 16000, response_format: "ndjson", ...params };
  return `# Linux; on a Mac: ffmpeg -f avfoundation -i :0
ffmpeg -loglevel error -f pulse -i default -ac 1 -ar 16000 -f s16le - |
  curl -sSN -T - -X POST -H "Content-Type: application/octet-stream"${header ? ` \\${header}` : ""} \\
    ${shell(url(address, "v1/vad", all))}`;
}

function pythonStream({ address, params, key }) {
  const given = ["sample_rate=16000", ...keywords(params)];
  return `# pip install '.[client,mic]' in a checkout of convad
${key ? "import os\n\n" : ""}import sounddevice
from vad.client import Client

with (
    Client(${py(address)}${key ? ', api_key=os.environ["VAD_API_KEY"]' : ""}) as client,
    client.stream(${given.join(", ")}) as stream,
    sounddevice.RawInputStream(16000, channels=1, dtype="int16") as microphone,
):
    while True:
        block, _ = microphone.read(320)
        stream.send(bytes(block))
        for event in stream.poll():
            print(event)`;
}

function javascriptStream({ address, params, key }) {
  const socket = url(address, "v1/vad/stream", { sample_rate: 16000, ...params });
  const auth = key
    ? `\n  socket.send(JSON.stringify({ type: "auth", token: process.env.VAD_API_KEY }));`
    : "";
  return `// Node.js: ffmpeg … -ac 1 -ar 16000 -f s16le - | node stream.mjs
const socket = new WebSocket(${JSON.stringify(socket.replace(/^http/, "ws"))});
socket.onopen = async () => {${auth}
  for await (const block of process.stdin) socket.send(block);
  socket.send(JSON.stringify({ type: "end" }));
};
socket.onmessage = ({ data }) => console.log(JSON.parse(data));`;
}

function url(address, path, params) {
  const query = new URLSearchParams(params).toString();
  return new URL(path, address) + (query ? `?${query}` : "");
}

/** A word for the shell, whatever is in it. */
function shell(text) {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** A file's name as curl's -F takes it: commas and semicolons would end it. */
function formName(name) {
  if (!/[,;"\\]/.test(name)) return name;
  return `"${name.replace(/[\\"]/g, "\\$&")}"`;
}

function py(text) {
  return JSON.stringify(text); // a Python literal too
}

function keywords(params) {
  return Object.entries(params).map(([name, value]) => {
    const bare = typeof value === "number" || /^\d+$/.test(value);
    return `${name}=${bare ? value : py(value)}`;
  });
}
