// The sliders: what they say now, and that they changed.

const BELOW = 0.15; // how far the lower threshold stands below the threshold unless it was moved
const LOWEST = 0.01;

export class Settings {
  #form;
  #follows = true;

  /** onChange() at every move of a slider. */
  constructor(form, onChange) {
    this.#form = form;
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", ({ target }) => {
      if (target.name === "neg_threshold") this.#follows = false;
      this.#show();
      onChange();
    });
    form.addEventListener("reset", () => {
      // The fields have their old values until the event is over.
      setTimeout(() => {
        this.#follows = true;
        this.#show();
        onChange();
      });
    });
    this.#show();
  }

  /** As the API names them; null leaves the value to the server. */
  get params() {
    const values = this.#values;
    return { ...values, neg_threshold: this.#follows ? null : values.neg_threshold };
  }

  /** Where the chart draws its lines. */
  get thresholds() {
    const { threshold, neg_threshold: lower } = this.#values;
    return { threshold, lower };
  }

  get #values() {
    const inputs = [...this.#form.querySelectorAll("input")];
    return Object.fromEntries(inputs.map(({ name, valueAsNumber }) => [name, valueAsNumber]));
  }

  #show() {
    const { threshold, neg_threshold: lower } = this.#form.elements;
    if (this.#follows) lower.value = Math.max(LOWEST, threshold.valueAsNumber - BELOW).toFixed(2);
    // The server refuses a lower threshold above the threshold.
    if (lower.valueAsNumber > threshold.valueAsNumber) lower.value = threshold.value;
    for (const output of this.#form.querySelectorAll("output")) {
      const input = this.#form.elements[output.htmlFor.value];
      const unit = input.dataset.unit;
      output.value = unit ? `${input.value} ${unit}` : input.valueAsNumber.toFixed(2);
      input.setAttribute("aria-valuetext", output.value);
    }
  }
}
