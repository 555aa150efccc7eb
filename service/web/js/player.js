// Plays the file, or a part of it, through the page's one <audio> element.

export class Player {
  #audio;
  #url = null;
  #until = Infinity;
  #onTick;
  #onChange;

  /** onTick(seconds) while it plays; onChange(playing) when it starts and stops. */
  constructor(audio, { onTick, onChange, onUnplayable }) {
    this.#audio = audio;
    this.#onTick = onTick;
    this.#onChange = onChange;
    audio.onplay = () => {
      onChange(true);
      this.#follow();
    };
    audio.onpause = () => onChange(false);
    audio.onended = () => onChange(false);
    audio.onseeked = () => onTick(audio.currentTime);
    audio.onerror = () => this.#url && onUnplayable();
    // Frames stop in a tab that is not shown; this goes on.
    audio.ontimeupdate = () => this.#check();
  }

  get time() {
    return this.#audio.currentTime;
  }

  get playing() {
    return !this.#audio.paused && !this.#audio.ended;
  }

  load(file) {
    this.unload();
    this.#url = URL.createObjectURL(file);
    this.#audio.src = this.#url;
  }

  unload() {
    this.#audio.pause();
    if (this.#url) URL.revokeObjectURL(this.#url);
    this.#url = null;
    this.#audio.removeAttribute("src");
    this.#onChange(false);
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

  #start() {
    // Refused where the file can't be played, which `onerror` tells, or was replaced meanwhile.
    this.#audio.play().catch(() => this.#onChange(false));
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
    this.#onTick(this.#audio.currentTime);
    requestAnimationFrame(() => this.#follow());
  }
}
