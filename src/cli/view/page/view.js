// Asks for one frame after the other and draws it; sends prompts, pause and step.

// Those of overlays, by number of the prompt.
const COLOURS = ["#56b4e9", "#e69f00", "#00b285", "#f0e442", "#de84b8", "#e66c1e"];
const RETRY_MS = 1000;

const element = (id) => document.getElementById(id);
const canvas = element("picture");
const context = canvas.getContext("2d");

/** The number of the frame that is shown, and the frame with its pixels. */
let shown = 0;
let frame = null;
let image = null;
let paused = false;
let showsPrompts = false;

/** Splits an answer to /next: the length of its JSON, the JSON, and the pixels. */
function parse(buffer) {
    const length = new DataView(buffer).getUint32(0, true);
    const answer = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
    const pixels = new Uint8ClampedArray(buffer, 4 + length);
    return { answer, pixels };
}

function draw() {
    if (!frame) return;
    if (canvas.width !== frame.width || canvas.height !== frame.height) {
        canvas.width = frame.width;
        canvas.height = frame.height;
    }
    context.putImageData(image, 0, 0);
    // Two pixels of the screen, however large the frame is.
    context.lineWidth = Math.max(1, (2 * frame.width) / (canvas.clientWidth || frame.width));
    frame.findings.forEach((finding, index) => {
        const path = new Path2D();
        for (const contour of finding.contours) {
            contour.points.forEach(([x, y], corner) => (corner ? path.lineTo(x, y) : path.moveTo(x, y)));
            path.closePath();
        }
        context.fillStyle = context.strokeStyle = COLOURS[index % COLOURS.length];
        if (element("fill").checked) {
            context.globalAlpha = 0.25;
            context.fill(path, "evenodd");
            context.globalAlpha = 1;
        }
        if (element("outlines").checked) context.stroke(path);
    });
}

function paragraph(text, kind) {
    const line = document.createElement("p");
    line.textContent = text;
    line.className = kind;
    return line;
}

function describe(finding) {
    if (finding.area_px === 0) return "nothing found";
    const area = finding.area_mm2 === null ? `${finding.area_px} pixels` : `${finding.area_mm2.toFixed(1)} mm²`;
    const diameter = finding.longest_diameter;
    const longest = !diameter ? "" : diameter.length_mm === null
        ? `, longest diameter ${diameter.length_px.toFixed(0)} pixels`
        : `, longest diameter ${diameter.length_mm.toFixed(1)} mm`;
    const dice = finding.quality?.expected_dice;
    return `${area}${longest}` + (typeof dice === "number" ? `, expected Dice ${dice.toFixed(2)}` : "");
}

function list(findings) {
    element("findings").replaceChildren(...findings.map((finding, index) => {
        const item = document.createElement("li");
        item.style.borderColor = COLOURS[index % COLOURS.length];
        item.append(paragraph(finding.prompt, "prompt"), paragraph(describe(finding), "measurements"));
        const flags = finding.quality?.flags ?? [];
        if (flags.length) item.append(paragraph("Doubt: " + flags.join(", ").replaceAll("_", " "), "flags"));
        return item;
    }));
}

function number(name, value) {
    const term = document.createElement("dt");
    const description = document.createElement("dd");
    term.textContent = name;
    description.textContent = value;
    return [term, description];
}

function count(answer) {
    const { latency_ms: latency, processed, dropped, late, failed } = answer.statistics;
    const now = frame ? `${frame.latency_ms.toFixed(1)} ms${frame.late ? ", late" : ""}` : "";
    element("numbers").replaceChildren(
        ...number("this frame", now),
        ...number("median", `${latency.p50.toFixed(1)} ms`),
        ...number("99 of 100 below", `${latency.p99.toFixed(1)} ms`),
        ...number("frames with a result", processed),
        ...number("dropped", dropped),
        ...number("late", late),
        ...number("failed", failed),
    );
}

/** Sets a text only where it changes, since screen readers read every change. */
function say(id, text) {
    if (element(id).textContent !== text) element(id).textContent = text;
}

function take({ answer, pixels }) {
    say("source", answer.source);
    say("model", `Model: ${answer.model}.`);
    say("notice", answer.problem ?? answer.ended ?? (answer.paused ? "Paused." : shown || answer.frame ? "" : "Waiting for the first frame."));
    setPaused(answer.paused);
    if (!showsPrompts) {
        element("prompts").value = answer.prompts.join("\n");
        showsPrompts = true;
    }
    if (answer.frame) {
        frame = answer.frame;
        image = new ImageData(pixels, frame.width, frame.height);
        shown = frame.number;
        draw();
        list(frame.findings);
        document.body.dataset.frame = shown;
    }
    count(answer);
}

function setPaused(value) {
    paused = value;
    element("pause").setAttribute("aria-pressed", value);
}

async function send(path, body) {
    try {
        const reply = await fetch(path, {
            method: "POST",
            headers: { "content-type": "application/json" },
            body: JSON.stringify(body),
        });
        say("refusal", reply.ok ? "" : await reply.text());
        return reply.ok ? await reply.json() : null;
    } catch {
        say("refusal", "the command cannot be reached");
        return null;
    }
}

async function togglePause() {
    const state = await send("pause", { paused: !paused });
    if (state) setPaused(state.paused);
}

element("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const prompts = element("prompts").value.split("\n").map((line) => line.trim()).filter((line) => line);
    const state = await send("prompts", { prompts });
    if (state) element("prompts").value = state.prompts.join("\n");
});
element("pause").addEventListener("click", togglePause);
element("step").addEventListener("click", () => send("step", {}));
for (const id of ["outlines", "fill"]) element(id).addEventListener("change", draw);

async function watch() {
    for (;;) {
        try {
            const reply = await fetch(`next?after=${shown}`);
            if (!reply.ok) throw new Error(await reply.text());
            take(parse(await reply.arrayBuffer()));
        } catch {
            say("notice", "The command has ended or cannot be reached; trying again.");
            await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
        }
    }
}

watch();
