// The source of frames: a picture, a clip that plays, or the camera. One frame at a time is on its way, so that a slow computer shows
// fewer frames instead of later ones.

/** Seconds a frame of a clip that does not say. */
const DEFAULT_SECONDS = 1 / 25;

export class Player {
  #engine;
  #page;
  #source = null;
  #turn = 0;

  /** `page`: { show(report), report(text), fail(error), ended() }. */
  constructor(engine, page) {
    this.#engine = engine;
    this.#page = page;
  }

  get hasSource() { return this.#source !== null; }
  get isClip() { return this.#source?.kind === "clip"; }
  get usesCamera() { return this.#source?.kind === "camera"; }
  get isPlaying() { return this.#source?.playing ?? false; }
  get stem() { return (this.#source?.name ?? "image").replace(/\.[^.]*$/, ""); }

  get position() {
    if (!this.isClip) return "";
    const { frame, frames } = this.#source;
    return frames === null ? `Frame ${frame}` : `Frame ${frame} of ${frames}`;
  }

  /** Opens a file and shows its first frame; a clip plays on. */
  async open(name, bytes) {
    this.stop();
    const copy = bytes.slice(0);
    const { still, frames, seconds_per_frame } = await this.#engine.call("open", { name, bytes: copy }, [copy]);
    const source = { kind: still ? "picture" : "clip", name, bytes, frames: frames ?? null, frame: 0, playing: false };
    source.seconds = seconds_per_frame ?? DEFAULT_SECONDS;
    this.#source = source;
    try {
      await this.step();
    } catch (error) {
      this.#source = null;
      throw error;
    }
    if (this.isClip) this.toggle();
  }

  /** Shows the next frame of a clip, the first one after the last. */
  async step() {
    const source = this.#source;
    let report = await this.#engine.call("next");
    if (report === null && source.frame > 0) {
      const copy = source.bytes.slice(0);
      await this.#engine.call("open", { name: source.name, bytes: copy }, [copy]);
      source.frame = 0;
      report = await this.#engine.call("next");
    }
    if (report === null) throw new Error(`${source.name}: has no frame; choose another file`);
    source.frame += 1;
    if (source === this.#source) this.#page.show(report);
  }

  /** Segments the last frame again. */
  async again() {
    if (this.isPlaying) return;
    this.#page.show(await this.#engine.call("again"));
  }

  toggle() {
    const source = this.#source;
    if (!source || source.kind === "picture") return;
    source.playing = !source.playing;
    if (source.playing) this.#loop(source, ++this.#turn);
  }

  async openCamera() {
    this.stop();
    if (!navigator.mediaDevices) {
      throw new Error("The camera needs a secure page: open it from localhost or over https.");
    }
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: true, audio: false });
    } catch (error) {
      throw new Error(`The camera cannot be used (${error.message || error.name}): allow it in the browser, or connect one.`);
    }
    const video = document.createElement("video");
    video.muted = true;
    video.srcObject = stream;
    await video.play();
    this.#source = { kind: "camera", name: "camera", stream, video, playing: false };
    this.toggle();
  }

  /** Ends playback and camera; a picture or clip stays open. */
  stop() {
    const source = this.#source;
    this.#turn += 1;
    if (!source) return;
    source.playing = false;
    if (source.kind === "camera") {
      source.stream.getTracks().forEach((track) => track.stop());
      this.#source = null;
    }
  }

  /** Forgets the source, whose worker ended. */
  forget() {
    this.stop();
    this.#source = null;
  }

  async #loop(source, turn) {
    try {
      while (source.playing && turn === this.#turn) {
        const begun = performance.now();
        if (source.kind === "camera") await this.#takePicture(source);
        else await this.step();
        const left = source.kind === "camera" ? 0 : 1e3 * source.seconds - (performance.now() - begun);
        await new Promise((resolve) => setTimeout(resolve, Math.max(0, left)));
      }
    } catch (error) {
      source.playing = false;
      if (error.ended) this.forget();
      this.#page.fail(error);
    }
    this.#page.ended();
  }

  async #takePicture({ video }) {
    const { videoWidth: width, videoHeight: height } = video;
    if (width === 0) return new Promise((resolve) => setTimeout(resolve, 50));
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(video, 0, 0);
    const { data } = context.getImageData(0, 0, width, height);
    this.#page.show(await this.#engine.call("picture", { rgba: data.buffer, width, height }, [data.buffer]));
  }
}
