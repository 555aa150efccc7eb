// One live stream over WebSocket: audio out, events in, and how long each took.

import { access, address, Problem, query } from "../api.js";

const MOST_UNSENT_S = 5; // audio waiting in the browser before the connection counts as too slow
const END_TIMEOUT_MS = 5000; // without a message, after which an end is no longer waited for
const CLOSED = {
  1006: "The connection to the server was lost.",
  1008: "The server refused the stream.",
  1012: "The server is shutting down. Try again in a moment.",
  1013: "All the server’s places for live audio are taken. Try again in a moment.",
};

/**
 * handlers.event(message, delayMs) hears every event of the server; delayMs is given with
 * speech_started: from sending the audio that decided it to receiving it.
 * handlers.lost(problem) hears of an end that nobody here asked for.
 */
export class LiveStream {
  #socket = null;
  #handlers;
  #rate;
  #sentAt = []; // performance.now() of each message; all hold equally much audio
  #messageMs = 0;
  #fault = null; // what a fatal `error` event said
  #created = null;
  #ended = null;
  #timer = 0;
  #early = []; // audio from before the stream was open: what is said meanwhile counts too

  /** Whether the server has told all that it had to tell. */
  complete = false;

  constructor(rate, handlers) {
    this.#rate = rate;
    this.#handlers = handlers;
  }

  /** Connects; resolves with `session.created`. */
  open(params) {
    const wanted = { ...params, sample_rate: this.#rate, probabilities: true };
    const url = address(`v1/vad/stream?${query(wanted)}`);
    url.protocol = url.protocol.replace("http", "ws");
    this.#socket = new WebSocket(url);
    this.#socket.onopen = () => {
      // A browser can't set the header, so the key is the first message; never part of the URL.
      if (access.needed && access.key) this.#tell({ type: "auth", token: access.key });
    };
    this.#socket.onmessage = ({ data }) => this.#received(JSON.parse(data));
    this.#socket.onclose = ({ code }) => this.#closed(code);
    return new Promise((resolve, reject) => {
      this.#created = { resolve, reject };
    });
  }

  /** Sends PCM, 16 bit. */
  send(samples) {
    if (this.#early) {
      this.#early.push(samples);
      return;
    }
    if (this.#socket.readyState !== WebSocket.OPEN || this.#ended) return;
    if (this.#socket.bufferedAmount > MOST_UNSENT_S * this.#rate * 2) {
      this.#fault = new Problem("The connection is too slow for live audio.");
      this.#socket.close();
      return;
    }
    this.#messageMs = (samples.length / this.#rate) * 1000;
    this.#sentAt.push(performance.now());
    this.#socket.send(samples);
  }

  /** New thresholds, from the next frame on. */
  update(params) {
    if (this.#socket.readyState === WebSocket.OPEN && !this.#ended) {
      this.#tell({ type: "session.update", ...params });
    }
  }

  /** Nothing is said for a while, but the stream goes on. */
  keepAlive() {
    if (this.#socket.readyState === WebSocket.OPEN && !this.#ended) this.#tell({ type: "keepalive" });
  }

  /** No more audio. Resolves once the server has told all it has to tell, or is gone or stuck. */
  end() {
    if (this.#socket.readyState === WebSocket.CLOSED) return Promise.resolve();
    const done = new Promise((resolve) => {
      this.#ended = resolve;
    });
    if (this.#socket.readyState === WebSocket.OPEN) this.#tell({ type: "end" });
    this.#wait();
    return done.finally(() => clearTimeout(this.#timer));
  }

  #wait() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#closed(1006), END_TIMEOUT_MS);
  }

  #tell(message) {
    this.#socket.send(JSON.stringify(message));
  }

  #received(message) {
    if (this.#ended) this.#wait();
    if (message.type === "session.created") {
      this.#created.resolve(message);
      this.#created = null;
      const early = this.#early;
      this.#early = null;
      early.forEach((samples) => this.send(samples));
    } else if (message.type === "session.closed") {
      this.complete = true;
    } else if (message.type === "error" && message.fatal) {
      const status = message.code === "unauthorised" ? 401 : 0;
      this.#fault = new Problem(`${message.message}.`, { status });
    }
    this.#handlers.event(message, this.#delay(message));
  }

  #delay({ type, detected_at_ms: needed }) {
    if (type !== "speech_started" || this.#sentAt.length === 0) return null;
    const index = Math.ceil(needed / this.#messageMs) - 1;
    const last = this.#sentAt.length - 1;
    return performance.now() - this.#sentAt[Math.min(Math.max(index, 0), last)];
  }

  #closed(code) {
    const fallback = CLOSED[code] ?? `The server closed the stream (code ${code}).`;
    const problem = this.#fault ?? new Problem(fallback);
    if (this.#created) {
      this.#created.reject(problem);
    } else if (this.#ended) {
      this.#ended();
    } else {
      this.#handlers.lost(problem);
    }
    this.#created = null;
    this.#socket.onclose = null;
    this.#socket.close();
  }
}
