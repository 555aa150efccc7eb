// Sound as the chart needs it (the loudest sample of every 10 ms), and as a WAV file.

export const BUCKETS_PER_S = 100;
const DECODE_RATE = 16000; // Hz: plenty for peaks, and a third of the memory that 48 kHz takes
const MOST_DECODED_S = 20 * 60; // a decoded hour would take gigabytes

/** Numbers that grow at the end, without copying at each one. */
export class Series {
  #values = new Float32Array(1024);
  length = 0;

  static of(numbers) {
    const made = new Series();
    made.#values = Float32Array.from(numbers);
    made.length = numbers.length;
    return made;
  }

  at(index) {
    return this.#values[index];
  }

  /** Values in between that nobody sets are 0. */
  set(index, value) {
    if (index >= this.#values.length) {
      const larger = new Float32Array(Math.max(2 * this.#values.length, index + 1));
      larger.set(this.#values);
      this.#values = larger;
    }
    this.#values[index] = value;
    this.length = Math.max(this.length, index + 1);
  }
}

/** What came from the microphone. */
export class Recording {
  #blocks = [];
  #samples = 0;
  peaks = new Series();

  constructor(rate) {
    this.rate = rate;
  }

  get duration() {
    return this.#samples / this.rate;
  }

  add(block) {
    for (const sample of block) {
      raise(this.peaks, Math.floor((this.#samples * BUCKETS_PER_S) / this.rate), sample / 32768);
      this.#samples += 1;
    }
    this.#blocks.push(block);
  }

  /** The recording as a file: 16-bit mono WAV. */
  wav() {
    const bytes = this.#samples * 2;
    const view = new DataView(new ArrayBuffer(44));
    const ascii = (at, text) => [...text].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
    ascii(0, "RIFF");
    view.setUint32(4, 36 + bytes, true);
    ascii(8, "WAVEfmt ");
    view.setUint32(16, 16, true); // size of the format chunk
    view.setUint16(20, 1, true); // PCM
    view.setUint16(22, 1, true); // mono
    view.setUint32(24, this.rate, true);
    view.setUint32(28, this.rate * 2, true);
    view.setUint16(32, 2, true);
    view.setUint16(34, 16, true);
    ascii(36, "data");
    view.setUint32(40, bytes, true);
    return new File([view, ...this.#blocks], "recording.wav", { type: "audio/wav" });
  }
}

/**
 * Peaks of a file, decoded by the browser; null where it can't (AMR, AIFF …) or where it would
 * take too much memory. The server's answer does not depend on this.
 */
export async function peaksOf(file, duration) {
  if (duration > MOST_DECODED_S) return null;
  try {
    const context = new OfflineAudioContext(1, 1, DECODE_RATE);
    const audio = await context.decodeAudioData(await file.arrayBuffer());
    return mixedPeaks(audio);
  } catch {
    return null;
  }
}

function mixedPeaks(audio) {
  const peaks = new Series();
  const channels = Array.from({ length: audio.numberOfChannels }, (_, i) => audio.getChannelData(i));
  const perBucket = audio.sampleRate / BUCKETS_PER_S;
  for (let i = 0; i < audio.length; i += 1) {
    let sum = 0;
    for (const channel of channels) sum += channel[i];
    raise(peaks, Math.floor(i / perBucket), sum / channels.length);
  }
  return peaks;
}

function raise(peaks, index, sample) {
  const level = Math.abs(sample);
  if (index >= peaks.length || level > peaks.at(index)) peaks.set(index, level);
}
