// One player for everything: recordings by <audio>, scores and MIDI files by synthesis; a queue for playlists.
import { forget, loadable, pathOf, request } from "./api.js";
import { $, button, clock, el, foreign, icon, showProblem, titleOf } from "./dom.js";
import { Synthesis } from "./synthesis.js";

const notes = new Map(); // id → {notes, seconds}: scores are asked for twice, to be shown and to be played

export function notesOf(id) {
  if (!notes.has(id)) {
    const answer = request(pathOf(id, "/notes"));
    notes.set(id, answer);
    answer.catch(() => notes.delete(id));
  }
  return notes.get(id);
}

export const playable = (piece) => Boolean(piece.has && ((piece.modality === "audio" && piece.has.media) || piece.has.notes));

class Recording {
  constructor(address) {
    this.address = address;
    this.audio = new Audio(address);
    this.audio.onended = () => this.onended?.();
    this.audio.onerror = () => this.onproblem?.("This browser cannot play that recording.");
  }

  get position() {
    return this.audio.currentTime;
  }

  get duration() {
    return Number.isFinite(this.audio.duration) ? this.audio.duration : 0;
  }

  get playing() {
    return !this.audio.paused;
  }

  play() {
    return this.audio.play();
  }

  pause() {
    this.audio.pause();
  }

  async seek(seconds) {
    if (this.audio.readyState === 0) {
      await new Promise((resolve) => this.audio.addEventListener("loadedmetadata", resolve, { once: true }));
    }
    this.audio.currentTime = seconds;
  }

  close() {
    this.audio.onerror = null;
    this.audio.pause();
    this.audio.removeAttribute("src");
    this.audio.load();
    forget(this.address);
  }
}

export class Player extends EventTarget {
  constructor(box) {
    super();
    this.box = box;
    this.sound = null;
    this.piece = null;
    this.queue = [];
    this.place = -1;
    this.turn = 0; // of what was asked for last; what loads later than that is dropped
    this.build();
  }

  build() {
    this.toggleButton = button("play", "Play", () => this.toggle());
    this.back = button("previous", "Previous piece", () => this.step(-1));
    this.forth = button("next", "Next piece", () => this.step(1));
    this.title = el("p", { class: "playing", id: "playing" });
    this.range = el("input", {
      type: "range", min: 0, max: 1, step: 0.1, value: 0, "aria-label": "Position",
      oninput: () => this.seek(Number(this.range.value)),
    });
    this.time = el("span", { class: "time" }, "0:00");
    this.box.replaceChildren(this.back, this.toggleButton, this.forth, this.title, this.range, this.time,
      button("close", "Stop and close the player", () => this.stop()));
  }

  isPlaying(id) {
    return this.piece?.id === id && Boolean(this.sound?.playing);
  }

  /** Play a piece, from a second of it if given. */
  async play(piece, { from = 0, queue = null, place = 0 } = {}) {
    this.turn += 1;
    const turn = this.turn;
    this.queue = queue ?? [piece];
    this.place = queue ? place : 0;
    this.sound?.close();
    this.sound = null;
    this.piece = piece;
    this.show();
    try {
      const sound = await this.open(piece);
      if (turn !== this.turn) return sound.close();
      this.sound = sound;
      sound.onended = () => this.ended();
      sound.onproblem = (sentence) => this.fail(sentence);
      if (from) await sound.seek(from);
      await sound.play();
      if (turn === this.turn) this.watch();
    } catch (problem) {
      if (turn === this.turn && problem.name !== "AbortError") this.fail(problem.message);
    }
  }

  async open(piece) {
    if (piece.modality === "audio") return new Recording(await loadable(pathOf(piece.id, "/media")));
    const { notes: list, seconds } = await notesOf(piece.id);
    return new Synthesis(list, seconds);
  }

  fail(sentence) {
    showProblem(new Error(`${titleOf(this.piece)} cannot be played: ${sentence}`));
    this.stop();
  }

  ended() {
    if (this.place + 1 < this.queue.length) this.step(1);
    else this.show();
  }

  step(by) {
    const place = this.place + by;
    if (place < 0 || place >= this.queue.length) return;
    this.play(this.queue[place], { queue: this.queue, place });
  }

  toggle() {
    if (!this.sound) return;
    if (this.sound.playing) this.sound.pause();
    else Promise.resolve(this.sound.play()).then(() => this.watch()).catch((problem) => this.fail(problem.message));
    this.show();
  }

  seek(seconds) {
    Promise.resolve(this.sound?.seek(seconds)).then(() => this.show());
  }

  stop() {
    this.turn += 1;
    this.sound?.close();
    this.sound = null;
    this.piece = null;
    this.show();
  }

  watch() {
    this.show();
    if (this.sound?.playing) requestAnimationFrame(() => this.watch());
  }

  show() {
    const { piece, sound } = this;
    this.box.hidden = !piece;
    document.body.classList.toggle("with-player", Boolean(piece));
    if (piece) {
      const playing = Boolean(sound?.playing);
      const state = `${piece.id} ${playing} ${this.place}`;
      if (state !== this.shown) {
        this.shown = state;
        this.toggleButton.replaceChildren(icon(playing ? "pause" : "play"));
        this.toggleButton.setAttribute("aria-label", playing ? "Pause" : "Play");
        this.toggleButton.title = playing ? "Pause" : "Play";
        this.title.replaceChildren(foreign(titleOf(piece)));
        this.back.disabled = this.place <= 0;
        this.forth.disabled = this.place + 1 >= this.queue.length;
        this.back.hidden = this.forth.hidden = this.queue.length < 2;
      }
      const { position = 0, duration = 0 } = sound ?? {};
      this.range.max = duration || 1;
      this.range.value = position;
      this.range.setAttribute("aria-valuetext", `${clock(position)} of ${clock(duration)}`);
      this.time.textContent = `${clock(position)} / ${clock(duration)}`;
    } else {
      this.shown = null;
    }
    this.dispatchEvent(new Event("change"));
  }
}

/** Draw notes as bars over time; a click plays from there, a line shows where the player is. */
export function pianoRoll(piece, player, { notes: list, seconds }) {
  const canvas = el("canvas", { class: "roll", role: "img", "aria-label": "The notes over time; a click plays from there" });
  const pitches = list.map((note) => note[2]);
  const low = Math.min(...pitches, 60) - 2;
  const high = Math.max(...pitches, 64) + 2;
  const draw = () => {
    if (!canvas.isConnected) return player.removeEventListener("change", draw);
    const { clientWidth: width, clientHeight: height } = canvas;
    const ratio = window.devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const style = getComputedStyle(canvas);
    const pen = canvas.getContext("2d");
    const at = player.piece?.id === piece.id ? player.sound?.position ?? 0 : -1;
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    for (const [start, length, pitch] of list) {
      pen.fillStyle = style.getPropertyValue(start <= at && at < start + length ? "--accent" : "--note");
      pen.fillRect((start / seconds) * width, ((high - pitch) / (high - low)) * height,
        Math.max(1.5, (length / seconds) * width - 0.5), Math.max(2, height / (high - low)));
    }
    if (at >= 0) {
      pen.fillStyle = style.getPropertyValue("--accent");
      pen.fillRect((at / seconds) * width, 0, 1.5, height);
    }
    return undefined;
  };
  canvas.addEventListener("click", (event) => {
    const from = (event.offsetX / canvas.clientWidth) * seconds;
    if (player.piece?.id === piece.id) player.seek(from);
    else player.play(piece, { from });
  });
  player.addEventListener("change", draw);
  document.addEventListener("theme", draw);
  requestAnimationFrame(draw);
  return canvas;
}

export const thePlayer = () => new Player($("player"));
