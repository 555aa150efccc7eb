// The microphone as messages of 16-bit samples at the sound card's own rate.

import { Problem } from "../api.js";

const REFUSALS = {
  NotAllowedError:
    "The browser was not allowed to use the microphone. Allow it in the address bar, then try again.",
  NotFoundError: "No microphone was found. Connect one, then try again.",
  NotReadableError: "The microphone can’t be opened. Another program may be using it.",
};
// The browser's call processing would reshape what the detector is to judge.
const UNPROCESSED = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };

export class Microphone {
  #media;
  #context;
  #source = null;

  constructor(media, context) {
    this.#media = media;
    this.#context = context;
  }

  /** Asks for the microphone. Throws a Problem where it is refused. */
  static async open() {
    if (!navigator.mediaDevices) {
      throw new Problem("Browsers offer the microphone only to pages on https:// or localhost.");
    }
    let media = null;
    let context = null;
    try {
      // All that takes time comes before the microphone opens, so that no first word is lost.
      context = new AudioContext({ latencyHint: "interactive" });
      await context.audioWorklet.addModule(new URL("pcm-worklet.js", import.meta.url));
      media = await navigator.mediaDevices.getUserMedia({ audio: UNPROCESSED });
      await context.resume();
      return new Microphone(media, context);
    } catch (error) {
      media?.getTracks().forEach((track) => track.stop());
      await context?.close();
      throw new Problem(REFUSALS[error.name] ?? `The microphone failed: ${error.message}.`);
    }
  }

  /** Samples per second. The server resamples, so that none has to be lost here. */
  get rate() {
    return this.#context.sampleRate;
  }

  /** onSamples(Int16Array) until stop(); onGone() if the microphone is unplugged before. */
  start(onSamples, onGone) {
    this.#source = this.#context.createMediaStreamSource(this.#media);
    const node = new AudioWorkletNode(this.#context, "pcm", {
      channelCount: 1,
      channelCountMode: "explicit",
    });
    node.port.onmessage = ({ data }) => onSamples(data);
    this.#media.getAudioTracks()[0].onended = onGone;
    // Some browsers run a node only if it leads to the output; what it puts out is silence.
    this.#source.connect(node).connect(this.#context.destination);
  }

  /** Nothing is heard until resume(). */
  pause() {
    return this.#context.suspend();
  }

  resume() {
    return this.#context.resume();
  }

  /** Lets the microphone go: its light in the browser goes out. */
  async stop() {
    this.#source?.disconnect();
    this.#media.getTracks().forEach((track) => {
      track.onended = null;
      track.stop();
    });
    if (this.#context.state !== "closed") await this.#context.close();
  }
}
