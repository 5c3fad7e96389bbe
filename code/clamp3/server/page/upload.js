// Questions by sound and file: choosing, dropping, and recording from the microphone.
import { request } from "./api.js";
import { $, announce, clearProblem, clock, printable, showProblem } from "./dom.js";

const LONGEST = 60; // seconds of a recording

export class Upload {
  constructor(app) {
    this.app = app;
    $("open").addEventListener("click", () => $("file").click());
    $("file").addEventListener("change", () => {
      this.send([...$("file").files]);
      $("file").value = "";
    });
    $("hum").addEventListener("click", () => this.hum());
    this.watchDrops();
  }

  watchDrops() {
    let depth = 0; // dragging over a child leaves its parent
    const holds = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
    const show = (by) => {
      depth = Math.max(0, depth + by);
      $("drop").hidden = depth === 0;
    };
    window.addEventListener("dragenter", (event) => holds(event) && show(1));
    window.addEventListener("dragleave", (event) => holds(event) && show(-1));
    window.addEventListener("dragover", (event) => holds(event) && event.preventDefault());
    window.addEventListener("drop", (event) => {
      if (!holds(event)) return;
      event.preventDefault();
      depth = 0;
      show(0);
      this.send([...event.dataTransfer.files]);
    });
  }

  /** Upload files one after the other and search by each that could be read. */
  async send(files) {
    for (const file of files.slice(0, 8)) {
      clearProblem();
      announce(`Reading ${printable(file.name)} …`);
      this.app.busy(true);
      try {
        const answer = await request(`uploads?name=${encodeURIComponent(file.name)}`, { body: file });
        $("tray").open = true;
        const label = answer.caption ? `${file.name}: “${answer.caption}”` : file.name;
        this.app.tray.addUpload(answer.upload, label, answer.modality);
      } catch (problem) {
        this.app.busy(false);
        announce("");
        showProblem(new Error(`“${file.name}”: ${problem.message}`)); // quoted: sentences begin with a capital
      }
    }
  }

  async hum() {
    if (this.recorder) return this.recorder.stop();
    if (!navigator.mediaDevices || !window.MediaRecorder) {
      return showProblem(new Error("This browser lends the microphone only to pages from this computer or over https."));
    }
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    } catch {
      return showProblem(new Error("There is no microphone, or the browser was asked not to lend it."));
    }
    const type = ["audio/webm", "audio/mp4", "audio/ogg"].find((name) => MediaRecorder.isTypeSupported(name)) ?? "";
    const chunks = [];
    const started = performance.now();
    this.recorder = new MediaRecorder(stream, type ? { mimeType: type } : {});
    this.recorder.ondataavailable = (event) => chunks.push(event.data);
    const caption = $("hum").querySelector("span");
    const timer = setInterval(() => {
      const seconds = (performance.now() - started) / 1000;
      caption.textContent = `Stop ${clock(seconds)}`;
      if (seconds >= LONGEST) this.recorder.stop();
    }, 250);
    this.recorder.onstop = () => {
      clearInterval(timer);
      for (const track of stream.getTracks()) track.stop();
      this.recorder = null;
      $("hum").setAttribute("aria-pressed", "false");
      caption.textContent = "Hum";
      const suffix = { "audio/mp4": "m4a", "audio/ogg": "ogg" }[type] ?? "webm";
      this.send([new File(chunks, `microphone.${suffix}`, { type })]);
    };
    $("hum").setAttribute("aria-pressed", "true");
    caption.textContent = "Stop 0:00";
    announce("Recording. Press the button again to stop.");
    this.recorder.start();
    return undefined;
  }
}
