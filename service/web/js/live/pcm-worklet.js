// Runs in the audio thread: gathers blocks of 128 samples into messages of some 20 ms.

const BLOCK = 128;
const MESSAGE_S = 0.02;

class PcmProcessor extends AudioWorkletProcessor {
  constructor() {
    super();
    this.size = Math.ceil((sampleRate * MESSAGE_S) / BLOCK) * BLOCK;
    this.begin();
  }

  begin() {
    this.samples = new Int16Array(this.size);
    this.filled = 0;
  }

  process([input]) {
    const channel = input[0]; // the node mixes down; there is none while nothing is connected
    if (!channel) return true;
    for (const sample of channel) {
      const limited = Math.max(-1, Math.min(1, sample));
      this.samples[this.filled] = Math.round(limited * 32767);
      this.filled += 1;
      if (this.filled === this.size) {
        // Transferred, not copied: this thread must never wait for memory.
        this.port.postMessage(this.samples, [this.samples.buffer]);
        this.begin();
      }
    }
    return true;
  }
}

registerProcessor("pcm", PcmProcessor);
