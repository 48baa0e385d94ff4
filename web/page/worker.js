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
    const [program, model] = await Promise.all([load(`${folder}/runtime.wasm.gz`).then(unpack), load("tiny.ccs")]);
    ({ memory } = await module.default({ module_or_path: program }));
    runtime = new module.Runtime(model);
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

/** A file of the page's folder. */
async function load(name) {
  const refuse = (reason) => { throw new Error(`${name}: cannot be loaded (${reason}); build the page's folder again, or reload the page`); };
  const answer = await fetch(new URL(name, base)).catch((error) => refuse(error.message));
  return answer.ok ? new Uint8Array(await answer.arrayBuffer()) : refuse(answer.status);
}

/** A module out of its packed form; some servers unpack it before. */
async function unpack(bytes) {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

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

const MEMORY = "the browser gave the page too little memory: close other pages, or take a smaller image";

function describe(error) {
  const trapped = error instanceof WebAssembly.RuntimeError || error instanceof RangeError;
  // A failed allocation ends the module without a reason; a library may report it in its own words.
  if (trapped) return { error: panic ? `the runtime failed (${panic}): please report it` : MEMORY, ended: true };
  const message = String(error?.message ?? error);
  return /out of memory/i.test(message) ? { error: MEMORY, ended: true } : { error: message, ended: runtime === null };
}

postMessage({ ready: true });
