// The files, one after the other, through the server.

import { analyse, segments } from "./api.js";

export class Queue {
  items = [];
  #settings;
  #handlers;
  #running = null; // {item, task} whose audio is under way

  /**
   * handlers.changed(item) when more is known of one; handlers.failed(problem, item).
   */
  constructor(settings, handlers) {
    this.#settings = settings;
    this.#handlers = handlers;
  }

  add(...items) {
    this.items.push(...items);
    this.#next();
  }

  remove(item) {
    this.items = this.items.filter((other) => other !== item);
    if (this.#running?.item === item) this.#running.task.abort();
  }

  /** All are sent and analysed again: how the audio is heard has changed. */
  again() {
    for (const item of this.items) item.reset();
    this.#running?.task.abort();
    this.#next();
  }

  /** Tries those again that failed for want of a key. */
  retry() {
    const refused = this.items.filter(({ problem }) => problem?.status === 401);
    for (const item of refused) item.reset();
    this.#next();
    return refused.length > 0;
  }

  /** Segments of an item with the thresholds of now; true if they are others than before. */
  async renew(item, signal) {
    const params = this.#settings.segmentation;
    const wanted = JSON.stringify(params);
    if (item.status !== "done" || item.used === wanted) return false;
    if (!item.heard) {
      await this.settled(item);
      if (item.used === wanted) return true;
    }
    const { heard } = item;
    const call = { analytics: item.channels.length > 1 };
    const blob = await segments(heard, { ...params, ...call }, "json", { signal });
    const answer = JSON.parse(await blob.text());
    if (item.heard !== heard) return false; // it is being analysed again meanwhile
    item.replace(answer);
    item.used = wanted;
    return true;
  }

  /** Says that more is known of an item. */
  tell(item) {
    this.#handlers.changed(item);
  }

  /** Resolves once an item has been analysed by the server; one from the microphone is now. */
  settled(item) {
    if (item.heard) return Promise.resolve();
    if (item.status !== "working") item.status = "waiting";
    const settled = new Promise((resolve, reject) => {
      item.settle = { resolve, reject };
    });
    this.#next();
    return settled;
  }

  async #next() {
    if (this.#running) return;
    const item = this.items.find(({ status }) => status === "waiting");
    if (!item) return;
    const task = new AbortController();
    this.#running = { item, task };
    item.empty();
    item.status = "working";
    try {
      await this.#work(item, task.signal);
      item.status = "done";
      item.settle?.resolve();
    } catch (problem) {
      if (problem.name !== "AbortError") this.#fail(item, problem);
    }
    this.#running = null;
    this.#handlers.changed(item);
    this.#next();
  }

  async #work(item, signal) {
    const { segmentation, asked } = this.#settings;
    const used = JSON.stringify(segmentation);
    const tell = () => this.#handlers.changed(item);
    tell();
    await analyse(item.file, { ...asked, ...segmentation }, {
      signal,
      onProgress: (share) => {
        item.share = share;
        tell();
      },
      onLine: (line) => {
        item.take(line, asked.channels);
        if (line.type !== "segment") tell();
      },
    });
    item.used = used;
  }

  #fail(item, problem) {
    item.status = "failed";
    item.problem = problem;
    item.settle?.reject(problem);
    this.#handlers.failed(problem, item);
  }
}
