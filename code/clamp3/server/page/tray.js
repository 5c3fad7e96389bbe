// The selection: pieces, uploads and words that results should be like, or with a weight below 0 unlike.
import { pathOf, request } from "./api.js";
import { $, announce, button, el, foreign, icon, printable, refill, titleOf } from "./dom.js";
import { partOf, sameSource } from "./question.js";

export class Tray {
  constructor(app) {
    this.app = app;
    this.labels = new Map(); // of ids and uploads
  }

  get parts() {
    return this.app.question.parts;
  }

  /** Add a piece, or change the sign of one that is there; then search. */
  add(piece, weight, stretch = null) {
    this.know(piece);
    this.put({ kind: "item", value: piece.id, weight, stretch });
    announce(`${printable(titleOf(piece))} is in the selection as ${weight > 0 ? "like" : "unlike"}.`);
  }

  know(piece) {
    this.labels.set(piece.id, { text: titleOf(piece), icon: piece.modality });
  }

  addUpload(token, text, modality) {
    this.labels.set(token, { text, icon: modality });
    this.put({ kind: "upload", value: token, weight: 1, stretch: null });
  }

  put(part) {
    this.app.ask({ parts: [...this.parts.filter((other) => !sameSource(other, part)), part] });
  }

  change(part, weight) {
    this.app.ask({ parts: this.parts.map((other) => (other === part ? { ...part, weight } : other)) });
  }

  remove(part) {
    this.app.ask({ parts: this.parts.filter((other) => other !== part) });
    $("tray").querySelector("summary").focus();
  }

  /** The pieces that are liked, as parts of requests. */
  liked() {
    return this.parts.filter((part) => part.weight > 0).map(partOf);
  }

  show() {
    const n = this.parts.length;
    $("tray-count").textContent = n ? String(n) : "";
    const words = el("input", { type: "text", maxlength: 10000, "aria-label": "Words to add to the selection", placeholder: "e.g. slower", autocomplete: "off", "data-key": "words" });
    const addWords = (weight) => {
      if (!words.value.trim()) return words.focus();
      this.put({ kind: "text", value: words.value.trim(), weight, stretch: null });
      return undefined;
    };
    const form = el("form", { class: "add-words", onsubmit: (event) => { event.preventDefault(); addWords(1); } },
      words, button("plus", "More of these words", () => addWords(1), { "data-key": "more" }), button("minus", "Less of these words", () => addWords(-1), { "data-key": "less" }));
    const all = el("button", { type: "button", onclick: () => this.app.ask({ parts: [] }) }, "Empty it");
    const hint = el("p", { class: "quiet" }, "Results become more like what is here, or with − less like it. Press + or − on a result, or add words:");
    refill($("tray-body"), n ? el("ul", { class: "parts" }, this.parts.map((part) => this.row(part))) : hint, form, n ? el("div", { class: "buttons" }, all) : "");
  }

  row(part) {
    const label = this.label(part);
    const name = printable(label.text);
    const shown = el("output", {}, signed(part.weight));
    const range = el("input", {
      type: "range", min: -2, max: 2, step: 0.25, value: part.weight, "aria-label": `Weight of ${name}`, "data-key": part.value,
      "aria-valuetext": signed(part.weight),
      oninput: () => { shown.textContent = signed(Number(range.value)); },
      onchange: () => this.change(part, Number(range.value)),
    });
    const span = part.stretch && el("small", {}, ` ${part.stretch.unit === "bars" ? "bars" : "seconds"} ${part.stretch.start}–${part.stretch.end}`);
    return el("li", { class: part.weight < 0 ? "unlike" : "" },
      icon(label.icon ?? "text"), el("span", { class: "label" }, foreign(label.text), span),
      range, shown, button("close", `Remove ${name}`, () => this.remove(part)));
  }

  label(part) {
    if (part.kind === "text") return { text: `“${part.value}”`, icon: "text" };
    const known = this.labels.get(part.value);
    if (known) return known;
    if (part.kind === "upload") return { text: "an upload", icon: "file" };
    // A shared address names only the id.
    const waiting = { text: "…", icon: "score" };
    this.labels.set(part.value, waiting);
    request(pathOf(part.value)).then((piece) => {
      this.know(piece);
      this.show();
    }).catch(() => {
      waiting.text = "a piece that is not here";
      this.show();
    });
    return waiting;
  }
}

const signed = (weight) => `${weight < 0 ? "−" : "+"}${Math.abs(weight)}`;
