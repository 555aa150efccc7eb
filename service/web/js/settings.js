// The parameters: what they are now, and that they changed.

const BELOW = 0.15; // how far the lower threshold stands below the threshold unless it was moved
const LOWEST = 0.01;
// What the audio is heard with; the others only divide the probabilities.
const HEARING = ["model", "channels", "encoding", "sample_rate"];

export class Settings {
  #form;
  #follows = true;
  #valid = {}; // the last value of each that the server would take

  /** onChange({hearing}): whether the audio must be heard again. */
  constructor(form, onChange) {
    this.#form = form;
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", ({ target }) => {
      if (target.dataset.for) form.elements[target.dataset.for].value = target.value;
      const name = target.dataset.for ?? target.name;
      if (name === "neg_threshold") this.#follows = false;
      this.#show(target);
      onChange({ hearing: HEARING.includes(name) });
    });
    form.addEventListener("reset", () => {
      const before = JSON.stringify(this.asked);
      // The fields have their old values until the event is over.
      setTimeout(() => {
        this.#follows = true;
        this.#show();
        onChange({ hearing: before !== JSON.stringify(this.asked) });
      });
    });
    this.#show();
  }

  /** The models that can be chosen; the first is the server's own choice. */
  offer(models) {
    const choice = this.#form.elements.model;
    choice.replaceChildren(...models.map(({ name }) => new Option(name, name)));
  }

  /** Thresholds and durations as the API names them; null leaves the value to the server. */
  get segmentation() {
    const { neg_threshold: lower, max_speech_duration_s: longest, ...rest } = this.#valid;
    return {
      ...rest,
      neg_threshold: this.#follows ? null : lower,
      max_speech_duration_s: longest ?? null,
    };
  }

  /** How the audio is heard. */
  get asked() {
    const { model, channels, encoding, sample_rate: rate } = this.#form.elements;
    const raw = encoding.value !== "";
    return {
      model: model.selectedIndex > 0 ? model.value : null,
      channels: channels.value,
      encoding: raw ? encoding.value : null,
      sample_rate: raw ? rate.valueAsNumber || 16000 : null,
    };
  }

  /** Only what differs from the server's defaults: for calls that say what is on the screen. */
  get changed() {
    const found = {};
    for (const [name, value] of Object.entries({ ...this.asked, ...this.segmentation })) {
      const field = this.#form.elements[name];
      if (value === null || (name === "channels" && value === "mix")) continue;
      if (field.defaultValue !== undefined && field.type === "number" && name !== "sample_rate") {
        if (field.defaultValue !== "" && Number(field.defaultValue) === value) continue;
      }
      found[name] = value;
    }
    return found;
  }

  /** Where the chart draws its lines. */
  get thresholds() {
    const { threshold, neg_threshold: lower } = this.#valid;
    return { threshold, lower };
  }

  /** A stream is heard with one model, as it comes: what says otherwise waits. */
  set live(live) {
    for (const name of HEARING) this.#form.elements[name].disabled = live;
  }

  chooseChannels(value) {
    this.#form.elements.channels.value = value;
  }

  #show(changed = null) {
    const { threshold, neg_threshold: lower } = this.#form.elements;
    if (threshold.checkValidity()) {
      if (this.#follows) lower.value = Math.max(LOWEST, threshold.valueAsNumber - BELOW).toFixed(2);
      // The server refuses a lower threshold above the threshold.
      if (lower.valueAsNumber > threshold.valueAsNumber) lower.value = threshold.value;
    }
    for (const slider of this.#form.querySelectorAll("input[data-for]")) {
      const field = this.#form.elements[slider.dataset.for];
      if (slider !== changed) slider.value = field.value === "" ? slider.max : field.value;
      slider.setAttribute("aria-valuetext", field.value === "" ? "no limit" : field.value);
      if (field.checkValidity()) {
        this.#valid[field.name] = field.value === "" ? undefined : field.valueAsNumber;
      }
    }
    const wrong = this.#form.querySelector("input:invalid");
    const note = this.#form.querySelector(".wrong");
    note.hidden = !wrong;
    note.textContent = wrong
      ? `${wrong.labels[0].textContent}: ${wrong.validationMessage} Until then its last value counts.`
      : "";
  }
}
