// Runs the model, so that the page stays responsive. Messages are { id, call, ... }; answers { id, value } or { id, error, ended },
// where `ended` says that this worker cannot be used any more.

const base = new URL(".", import.meta.url);
let runtime = null;
let memory = null;
let panic = null;

globalThis.keepPanic = (reason) => { panic = reason; };

const calls = {
  async load({ folder }) {
    const module = await import(new URL(`${folder}/runtime.js`, base));
    ({ memory } = await module.default({ module_or_path: new URL(`${folder}/runtime_bg.wasm`, base) }));
    const answer = await fetch(new URL("tiny.ccs", base));
    if (!answer.ok) throw new Error(`the model cannot be loaded (${answer.status}): copy tiny.ccs beside the page`);
    runtime = new module.Runtime(new Uint8Array(await answer.arrayBuffer()));
    return JSON.parse(runtime.description());
  },

  prompts({ texts }) {
    runtime.set_prompts(texts);
  },

  open({ name, bytes }) {
    return JSON.parse(runtime.open(name, new Uint8Array(bytes)));
  },

  // Reads and segments the next frame; null after the last one.
  next() {
    return runtime.read() ? segment() : null;
  },

  // Segments the last frame again, under other prompts.
  again() {
    runtime.restart();
    return segment();
  },

  picture({ rgba, width, height }) {
    runtime.take_picture(new Uint8Array(rgba), width, height);
    return segment();
  },

  // Milliseconds a frame, for measurements.
  measure({ frames }) {
    const times = [];
    for (let frame = 0; frame < frames; frame++) {
      runtime.restart();
      const begun = performance.now();
      runtime.run();
      times.push(performance.now() - begun);
    }
    return { times, steps: JSON.parse(runtime.time_steps()), memory_bytes: memory.buffer.byteLength };
  },
};

function segment() {
  const report = JSON.parse(runtime.run());
  report.pixels = runtime.pixels();
  report.findings.forEach((finding, index) => { finding.mask = runtime.mask(index); });
  return report;
}

function buffers(value) {
  if (!value?.pixels) return [];
  return [value.pixels.buffer, ...value.findings.map((finding) => finding.mask.buffer)];
}

addEventListener("message", async ({ data }) => {
  try {
    const value = await calls[data.call](data);
    postMessage({ id: data.id, value }, buffers(value));
  } catch (error) {
    postMessage({ id: data.id, ...describe(error) });
  }
});

function describe(error) {
  const trapped = error instanceof WebAssembly.RuntimeError || error instanceof RangeError;
  if (!trapped) return { error: String(error?.message ?? error), ended: runtime === null };
  // A failed allocation ends the module without a reason.
  const reason = panic
    ? `the runtime failed (${panic}): please report it`
    : "the browser gave the page too little memory: close other pages, or take a smaller image";
  return { error: reason, ended: true };
}

postMessage({ ready: true });
