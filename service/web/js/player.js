// Plays a recording, or a part of it, through the page's one <audio> element.

export class Player {
  #audio;
  #url = null;
  #until = Infinity;
  #handlers;
  #other = null; // gives the recording in a form that browsers play
  #loading = false;

  /**
   * handlers.tick(seconds) while it plays; handlers.change(playing) when it starts and stops;
   * handlers.failed(problem).
   */
  constructor(audio, handlers) {
    this.#audio = audio;
    this.#handlers = handlers;
    audio.onplay = () => {
      handlers.change(true);
      this.#follow();
    };
    audio.onpause = () => handlers.change(false);
    audio.onended = () => handlers.change(false);
    audio.onseeked = () => handlers.tick(audio.currentTime);
    // Frames stop in a tab that is not shown; this goes on.
    audio.ontimeupdate = () => this.#check();
  }

  get time() {
    return this.#audio.currentTime;
  }

  get playing() {
    return !this.#audio.paused && !this.#audio.ended;
  }

  /** other(): the same as a Blob that every browser plays, for files that this one does not. */
  load(file, other) {
    this.unload();
    this.#other = other;
    if (file.size) this.#open(file);
  }

  unload() {
    this.#audio.pause();
    if (this.#url) URL.revokeObjectURL(this.#url);
    this.#url = null;
    this.#until = Infinity;
    this.#audio.removeAttribute("src");
    this.#handlers.change(false);
  }

  seek(seconds) {
    this.#until = Infinity;
    this.#audio.currentTime = seconds;
  }

  pause() {
    this.#audio.pause();
  }

  toggle() {
    this.#until = Infinity;
    if (this.playing) this.#audio.pause();
    else this.#start();
  }

  /** Plays [from, until) seconds. */
  part(from, until) {
    this.#audio.currentTime = from;
    this.#until = until;
    this.#start();
  }

  #open(blob) {
    this.#url = URL.createObjectURL(blob);
    this.#audio.src = this.#url;
  }

  async #start() {
    if (this.#loading) return;
    const url = this.#url;
    try {
      await this.#audio.play();
    } catch {
      if (url !== this.#url || !this.#audio.error || !this.#other) {
        this.#handlers.change(false); // replaced meanwhile, or paused at once
        return;
      }
      await this.#replace(url);
    }
  }

  async #replace(url) {
    const [at, until] = [this.#audio.currentTime, this.#until];
    this.#loading = true;
    try {
      const blob = await this.#other();
      if (url !== this.#url) return;
      URL.revokeObjectURL(this.#url);
      this.#other = null;
      this.#open(blob);
      this.#audio.currentTime = at;
      this.#until = until;
      await this.#audio.play();
    } catch (problem) {
      this.#handlers.change(false);
      if (url === this.#url) this.#handlers.failed(problem);
    } finally {
      this.#loading = false;
    }
  }

  #check() {
    if (this.#audio.currentTime < this.#until) return;
    this.#audio.pause();
    // A frame late, mostly: the playhead shall stand where the part ends.
    this.#audio.currentTime = this.#until;
    this.#until = Infinity;
  }

  #follow() {
    if (!this.playing) return;
    this.#check();
    this.#handlers.tick(this.#audio.currentTime);
    requestAnimationFrame(() => this.#follow());
  }
}
