// Tabs with the programs, and a button that copies one.

export class Code {
  #tabs;
  #panel;
  #texts = {};
  #chosen = "curl";

  /** say(text) tells what happened. */
  constructor(section, say) {
    this.#tabs = [...section.querySelectorAll("[role=tab]")];
    this.#panel = section.querySelector("[role=tabpanel]");
    for (const tab of this.#tabs) {
      tab.addEventListener("click", () => this.#choose(tab));
      tab.addEventListener("keydown", (event) => this.#key(event, tab));
    }
    section.querySelector("#copy").addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(this.#texts[this.#chosen]);
        say("Copied.");
      } catch {
        // Without https there is no clipboard: it is marked, for Ctrl+C.
        getSelection().selectAllChildren(this.#panel);
        say("Press Ctrl+C (or ⌘C) to copy what is marked.");
      }
    });
  }

  /** texts: by language. */
  show(texts) {
    this.#texts = texts;
    this.#draw();
  }

  #choose(chosen) {
    this.#chosen = chosen.dataset.language;
    for (const tab of this.#tabs) {
      tab.setAttribute("aria-selected", String(tab === chosen));
      tab.tabIndex = tab === chosen ? 0 : -1;
    }
    this.#panel.setAttribute("aria-labelledby", chosen.id);
    this.#draw();
  }

  #key(event, tab) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const count = this.#tabs.length;
    const next = this.#tabs[(this.#tabs.indexOf(tab) + step + count) % count];
    this.#choose(next);
    next.focus();
    event.preventDefault();
  }

  #draw() {
    const text = this.#texts[this.#chosen] ?? "";
    if (this.#panel.firstElementChild.textContent !== text) {
      this.#panel.firstElementChild.textContent = text;
    }
  }
}
