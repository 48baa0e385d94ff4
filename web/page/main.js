// The page: takes a file, a camera or a clip, and sentences; shows what the worker found.

import { COLOURS, describe, draw, inWords, maskAsPng } from "./drawing.js";
import { Engine } from "./engine.js";
import { Player } from "./player.js";

const MAX_FILE_BYTES = 1 << 30;

const element = (id) => document.getElementById(id);
const [file, promptsField, find, camera] = ["file", "prompts", "find", "camera"].map(element);
const [status, problem, result, canvas, rows] = ["status", "problem", "result", "view", "rows"].map(element);
const options = { masks: element("show-mask"), contours: element("show-contour") };

const engine = new Engine();
const player = new Player(engine, { show, report: say, fail, ended: updateControls });
// The last result, for drawing it again; tests read it too.
let shown = null;
globalThis.causalclipseg = { engine, get shown() { return shown; } };

function say(text) {
  if (status.textContent !== text) status.textContent = text;
}

function fail(error) {
  problem.textContent = error.message;
  problem.hidden = false;
  say("");
  updateControls();
}

function clearProblem() {
  problem.hidden = true;
  problem.textContent = "";
}

function updateControls() {
  find.disabled = !player.hasSource;
  camera.textContent = player.usesCamera ? "Stop the camera" : "Use the camera";
  camera.setAttribute("aria-pressed", String(player.usesCamera));
  element("player").hidden = !(player.isClip || player.usesCamera);
  element("step").hidden = player.usesCamera;
  element("play").textContent = player.isPlaying ? "Pause" : "Play";
  element("position").textContent = player.position;
}

function prompts() {
  return promptsField.value.split("\n").map((line) => line.trim()).filter((line) => line !== "");
}

/** Runs one action of the user, and shows its error. */
async function act(action) {
  clearProblem();
  try {
    await action();
  } catch (error) {
    if (error.ended) player.forget();
    fail(error);
  }
  updateControls();
}

function openFile(chosen) {
  return act(async () => {
    player.stop();
    if (chosen.size > MAX_FILE_BYTES) {
      throw new Error(`${chosen.name}: has ${Math.round(chosen.size / 2 ** 20)} MiB and the page takes at most 1024: use the command.`);
    }
    say(`Opening ${chosen.name} …`);
    await engine.call("prompts", { texts: prompts() });
    await player.open(chosen.name, await chosen.arrayBuffer());
  });
}

function show(report) {
  shown = report;
  result.hidden = false;
  redraw();
  const words = inWords(report);
  canvas.setAttribute("aria-label", words);
  const cells = report.findings.map(describe);
  // Rows stay where they are while a clip plays, so that the keyboard's place is kept.
  while (rows.rows.length > cells.length) rows.deleteRow(-1);
  while (rows.rows.length < cells.length) addRow(rows.rows.length);
  cells.forEach((texts, index) => texts.forEach((text, column) => {
    const cell = rows.rows[index].cells[column];
    const place = column === 0 ? cell.lastChild : cell;
    if (place.textContent !== text) place.textContent = text;
  }));
  const ms = (seconds) => (1e3 * seconds).toFixed(1);
  const { preprocess, image, head, postprocess } = report.seconds;
  element("times").textContent = `Time: ${ms(report.total_seconds)} ms (image preparation ${ms(preprocess)}, network ${ms(image)}, ` +
    `sentences ${ms(head)}, masks ${ms(postprocess)}).`;
  element("position").textContent = player.position;
  // Not while it plays: a screen reader would never end.
  if (!player.isPlaying) say(words);
}

function addRow(index) {
  const row = rows.insertRow(-1);
  const sentence = document.createElement("th");
  sentence.scope = "row";
  const swatch = document.createElement("span");
  swatch.className = "swatch";
  swatch.style.background = COLOURS[index].css;
  swatch.title = COLOURS[index].name;
  sentence.append(swatch, document.createTextNode(""));
  row.append(sentence);
  for (let column = 1; column < 6; column++) row.insertCell(-1);
  const save = document.createElement("button");
  save.type = "button";
  save.textContent = "Save mask";
  save.setAttribute("aria-label", `Save mask ${index + 1}`);
  save.addEventListener("click", () => act(() => saveMask(index)));
  row.insertCell(-1).append(save);
}

async function saveMask(index) {
  const report = shown;
  const address = URL.createObjectURL(await maskAsPng(report, report.findings[index].mask));
  const link = document.createElement("a");
  link.href = address;
  link.download = `${player.stem}_${index + 1}_mask.png`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

function redraw() {
  if (shown) draw(canvas, shown, { masks: options.masks.checked, contours: options.contours.checked });
}

// So that the same file can be chosen again.
file.addEventListener("click", () => { file.value = ""; });
file.addEventListener("change", () => { if (file.files.length > 0) openFile(file.files[0]); });
find.addEventListener("click", () => act(async () => {
  await engine.call("prompts", { texts: prompts() });
  await player.again();
}));
promptsField.addEventListener("keydown", (event) => {
  // Enter begins another sentence; with Ctrl it searches.
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !find.disabled) find.click();
});
camera.addEventListener("click", () => act(async () => {
  if (player.usesCamera) return player.stop();
  await engine.call("prompts", { texts: prompts() });
  await player.openCamera();
}));
element("play").addEventListener("click", () => act(() => player.toggle()));
element("step").addEventListener("click", () => act(() => player.step()));
for (const option of Object.values(options)) option.addEventListener("change", redraw);

addEventListener("dragover", (event) => {
  event.preventDefault();
  element("drop").classList.add("over");
});
addEventListener("dragleave", () => element("drop").classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  element("drop").classList.remove("over");
  const [dropped] = event.dataTransfer.files;
  if (dropped) openFile(dropped);
});

act(async () => {
  say("Loading the model …");
  const { name, input_size, isa } = await engine.load();
  element("model").textContent = `Model ${name}, ${input_size} x ${input_size} pixels, instruction set ${isa}.`;
  say("Ready: choose or drop a file.");
});
