// The worker as a promise for each call. A worker that ended is replaced by a new one at the next call.

import { moduleFolder } from "./features.js";

export class Engine {
  #worker = null;
  #waiting = new Map();
  #count = 0;
  #loading = null;

  /** The model's description. Rejects with one line for the user. */
  load() {
    this.#loading ??= this.#start();
    return this.#loading;
  }

  async call(name, fields = {}, transfer = []) {
    await this.load();
    return this.#send(name, fields, transfer);
  }

  async #start() {
    const folder = moduleFolder();
    if (folder === null) {
      this.#loading = null;
      throw new Error("This browser has no WebAssembly vectors (SIMD): use Chromium 91, Firefox 89, Safari 16.4, or later.");
    }
    // A worker from a blob is bound by the page's own policy; one from a file would be free of it.
    const start = `import ${JSON.stringify(new URL("worker.js", document.baseURI).href)};`;
    const address = URL.createObjectURL(new Blob([start], { type: "text/javascript" }));
    const worker = new Worker(address, { type: "module" });
    this.#worker = worker;
    const ready = new Promise((resolve, reject) => {
      worker.addEventListener("message", ({ data }) => data.ready ? resolve() : this.#receive(data));
      worker.addEventListener("error", (event) => {
        event.preventDefault();
        const error = new Error(`the page's worker cannot run (${event.message ?? "no reason given"}): reload the page`);
        reject(error);
        this.#end(error);
      });
    });
    try {
      await ready;
      return await this.#send("load", { folder }, []);
    } catch (error) {
      this.#end(error);
      throw error;
    } finally {
      URL.revokeObjectURL(address);
    }
  }

  #send(name, fields, transfer) {
    const id = ++this.#count;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ ...fields, id, call: name }, transfer);
    });
  }

  #receive({ id, value, error, ended }) {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error === undefined) return waiting?.resolve(value);
    const reason = new Error(error);
    reason.ended = ended;
    waiting?.reject(reason);
    if (ended) this.#end(reason);
  }

  #end(reason) {
    this.#worker?.terminate();
    this.#worker = null;
    this.#loading = null;
    for (const { reject } of this.#waiting.values()) reject(reason);
    this.#waiting.clear();
  }
}
