// What this browser's WebAssembly has: modules of a few bytes, each with one function that uses the instruction asked for.

const HEADER = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0];
// One type, () -> v128, and one function of it.
const FUNCTION = [1, 5, 1, 0x60, 0, 1, 0x7b, 3, 2, 1, 0];

function validates(body) {
  // No locals, the body, the end.
  const code = [0, ...body, 0x0b];
  return WebAssembly.validate(Uint8Array.from([...HEADER, ...FUNCTION, 0x0a, code.length + 2, 1, code.length, ...code]));
}

const ZERO = [0xfd, 12, ...Array(16).fill(0)];

/** Whether vectors of 128 bits can be used. */
export function hasVectors() {
  return typeof WebAssembly === "object" && validates(ZERO);
}

/** Whether relaxed dot products and multiply-adds can be used. */
export function hasRelaxedVectors() {
  // f32x4.relaxed_madd (0x105) and i32x4.relaxed_dot_i8x16_i7x16_add_s (0x113), in LEB128.
  return [0x85, 0x93].every((low) => validates([...ZERO, ...ZERO, ...ZERO, 0xfd, low, 2]));
}

/** The folder of the module to load; null without vectors. */
export function moduleFolder() {
  if (!hasVectors()) return null;
  return hasRelaxedVectors() ? "relaxed-simd" : "simd128";
}
