// The map: every piece a point, what sounds alike close together. Drag, zoom, point, and draw a line around some.
import { pathOf, request } from "./api.js";
import { $, announce, button, el, foreign, plural, printable, showProblem } from "./dom.js";
import { MODALITIES, NAMES, ONE } from "./question.js";
import { card } from "./results.js";

const SIGNS = { score: "●", midi: "■", audio: "▲", text: "◆" }; // as `sign` draws them
const NEAR = 14; // pixels within which a point is meant
const LISTED = 50; // pieces of a lasso that are shown

export class MusicMap {
  constructor(app) {
    this.app = app;
    this.points = null;
    this.view = null; // {x, y: centre; scale: pixels per unit}
    this.lassoing = this.stale = false;
    this.chosen = new Set();
    this.current = -1;
    this.pointers = new Map();
  }

  /** Ask for the points again before they are shown next. */
  forget() {
    this.stale = true;
  }

  async show() {
    if (this.points && !this.stale) return this.draw();
    $("map").replaceChildren(el("p", { class: "quiet" }, "Drawing the map; the first time this takes up to a minute …"));
    try {
      const { points } = await request("map");
      if (!points.length) {
        $("map").replaceChildren(el("p", { class: "quiet" }, "There is nothing in the index yet."));
        return undefined;
      }
      this.points = points.map(([id, x, y, modality, title]) => ({ id, x, y, modality, title: title || "without a title" }));
      this.stale = false;
      this.chosen.clear();
      this.current = -1;
      this.places = new Map(this.points.map((point, i) => [point.id, i]));
      this.build();
      this.fit();
    } catch (problem) {
      $("map").replaceChildren();
      showProblem(problem, () => this.show());
    }
    return undefined;
  }

  build() {
    this.canvas = el("canvas", {
      id: "canvas", tabindex: 0, role: "application", "aria-describedby": "map-keys",
      "aria-label": `Map of ${plural(this.points.length, "piece")}`,
    });
    this.tip = el("div", { class: "tip", hidden: true });
    this.lassoButton = button("lasso", "Draw a line around pieces", () => this.setLasso(!this.lassoing), { text: "Lasso", "aria-pressed": "false" });
    const tools = el("div", { class: "map-tools" }, this.lassoButton,
      el("button", { type: "button", onclick: () => this.chooseVisible() }, "Choose what is in view"),
      button("plus", "Zoom in", () => this.zoom(1.5)), button("minus", "Zoom out", () => this.zoom(1 / 1.5)),
      el("button", { type: "button", onclick: () => this.fit() }, "Whole map"));
    const present = MODALITIES.filter((name) => this.points.some((point) => point.modality === name));
    const legend = el("ul", { class: "legend", "aria-label": "Signs" },
      present.map((name) => el("li", { class: name }, el("span", { "aria-hidden": "true" }, SIGNS[name]), ` ${NAMES[name]}`)));
    const keys = el("p", { id: "map-keys", class: "quiet" },
      "Drag to move, scroll to zoom, click for a piece, Shift and drag (or Lasso) to draw around some. With keys: arrows go from piece to piece, Enter shows it, Space chooses it, + and − zoom.");
    this.found = el("ol", { class: "list", id: "map-list" });
    this.chosenBar = el("div", { class: "buttons", id: "map-chosen" });
    $("map").replaceChildren(tools, el("div", { class: "canvas" }, this.canvas, this.tip), legend, keys, this.chosenBar, this.found);
    this.listen();
  }

  listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.up(event));
    canvas.addEventListener("pointercancel", (event) => this.up(event, true));
    canvas.addEventListener("pointerleave", () => { this.tip.hidden = true; });
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY);
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("blur", () => { this.tip.hidden = true; });
    new ResizeObserver(() => this.draw()).observe(canvas);
    document.addEventListener("theme", () => this.draw());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  setLasso(on) {
    this.lassoing = on;
    this.lassoButton.setAttribute("aria-pressed", String(on));
    this.canvas.classList.toggle("lassoing", on);
  }

  fit() {
    const range = (axis) => {
      const all = this.points.map((point) => point[axis]);
      const low = all.reduce((a, b) => Math.min(a, b));
      const high = all.reduce((a, b) => Math.max(a, b));
      return [(low + high) / 2, high - low || 1];
    };
    const [x, width] = range("x");
    const [y, height] = range("y");
    const { clientWidth, clientHeight } = this.canvas;
    this.view = { x, y, scale: 0.9 * Math.min(clientWidth / width, clientHeight / height) || 1 };
    this.draw();
  }

  zoom(factor, px = this.canvas.clientWidth / 2, py = this.canvas.clientHeight / 2) {
    const [x, y] = this.unproject(px, py);
    this.view.scale *= factor;
    const [nx, ny] = this.unproject(px, py);
    this.view.x += x - nx;
    this.view.y += y - ny;
    this.draw();
  }

  project({ x, y }) {
    const { clientWidth, clientHeight } = this.canvas;
    return [clientWidth / 2 + (x - this.view.x) * this.view.scale, clientHeight / 2 - (y - this.view.y) * this.view.scale];
  }

  unproject(px, py) {
    const { clientWidth, clientHeight } = this.canvas;
    return [this.view.x + (px - clientWidth / 2) / this.view.scale, this.view.y - (py - clientHeight / 2) / this.view.scale];
  }

  down(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
    this.moved = false;
    this.line = this.pointers.size === 1 && (this.lassoing || event.shiftKey) ? [[event.offsetX, event.offsetY]] : null;
  }

  move(event) {
    const before = this.pointers.get(event.pointerId);
    const now = [event.offsetX, event.offsetY];
    if (!before) return this.point(this.nearest(...now));
    if (Math.hypot(now[0] - before[0], now[1] - before[1]) < (this.moved ? 1 : 4)) return undefined;
    this.moved = true;
    const others = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
    this.pointers.set(event.pointerId, now);
    if (this.line) {
      this.line.push(now);
    } else if (others.length) { // two fingers
      const distance = (place) => Math.hypot(place[0] - others[0][0], place[1] - others[0][1]) || 1;
      return this.zoom(distance(now) / distance(before), (now[0] + others[0][0]) / 2, (now[1] + others[0][1]) / 2);
    } else {
      this.view.x -= (now[0] - before[0]) / this.view.scale;
      this.view.y += (now[1] - before[1]) / this.view.scale;
    }
    return this.draw();
  }

  up(event, cancelled = false) {
    this.pointers.delete(event.pointerId);
    const { line } = this;
    this.line = null;
    if (cancelled) return this.draw();
    if (line && line.length > 2) {
      return this.choose(this.points.filter((point) => inside(this.project(point), line)));
    }
    const near = this.nearest(event.offsetX, event.offsetY);
    if (!this.moved && near >= 0) {
      this.point(near);
      this.choose([this.points[near]]);
    }
    return undefined;
  }

  nearest(px, py) {
    let best = -1;
    let least = NEAR;
    this.points.forEach((point, i) => {
      const [x, y] = this.project(point);
      const distance = Math.hypot(x - px, y - py);
      if (distance < least) [best, least] = [i, distance];
    });
    return best;
  }

  /** Show which piece is meant. */
  point(place) {
    this.current = place;
    const point = this.points[place];
    this.tip.hidden = !point;
    if (point) {
      const [x, y] = this.project(point);
      this.tip.replaceChildren(foreign(point.title), el("small", {}, ` ${ONE[point.modality] ?? ""}`));
      this.tip.classList.toggle("left", x > this.canvas.clientWidth / 2);
      this.tip.style.translate = `${x}px ${y}px`;
    }
    this.draw();
  }

  key(event) {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const step = steps[event.key];
    const here = this.points[this.current];
    if (step) this.go(step);
    else if (event.key === "Enter" && here) this.choose([here]);
    else if (event.key === " " && here) {
      const chosen = new Set(this.chosen);
      if (!chosen.delete(here.id)) chosen.add(here.id);
      this.choose(this.points.filter((point) => chosen.has(point.id)));
    } else if (event.key === "+" || event.key === "=") this.zoom(1.4);
    else if (event.key === "-") this.zoom(1 / 1.4);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** Go to the closest piece in a direction; the first step goes to the middle. */
  go([dx, dy]) {
    const here = this.points[this.current];
    const [hx, hy] = here ? this.project(here) : [this.canvas.clientWidth / 2, this.canvas.clientHeight / 2];
    let best = -1;
    let least = Infinity;
    this.points.forEach((point, i) => {
      const [x, y] = this.project(point);
      const along = (x - hx) * dx + (y - hy) * dy;
      const across = Math.abs((x - hx) * dy) + Math.abs((y - hy) * dx);
      // What lies more to the side than ahead counts as far away, but can still be reached.
      const cost = here ? along + across * (across > along ? 9 : 2) : Math.hypot(x - hx, y - hy);
      if (i !== this.current && (!here || along > 0) && cost < least) [best, least] = [i, cost];
    });
    if (best < 0) return;
    const [x, y] = this.project(this.points[best]);
    if (x < 0 || y < 0 || x > this.canvas.clientWidth || y > this.canvas.clientHeight) {
      Object.assign(this.view, { x: this.points[best].x, y: this.points[best].y });
    }
    this.point(best);
    const point = this.points[best];
    announce(`${printable(point.title)}, ${ONE[point.modality] ?? ""}${this.chosen.has(point.id) ? ", chosen" : ""}`);
  }

  chooseVisible() {
    const { clientWidth, clientHeight } = this.canvas;
    this.choose(this.points.filter((point) => {
      const [x, y] = this.project(point);
      return x >= 0 && y >= 0 && x <= clientWidth && y <= clientHeight;
    }));
  }

  /** Choose points: list their pieces and offer what can be done with all of them. */
  async choose(points) {
    this.chosen = new Set(points.map((point) => point.id));
    this.draw();
    announce(`${plural(points.length, "piece")} chosen.`);
    const chosen = this.chosen;
    const listed = points.slice(0, LISTED);
    const answers = await Promise.allSettled(listed.map((point) => request(pathOf(point.id))));
    if (chosen !== this.chosen) return; // another choice was faster
    const pieces = answers.filter((answer) => answer.status === "fulfilled").map((answer) => answer.value);
    this.found.replaceChildren(...pieces.map((piece) => card(piece, this.app)));
    this.chosenBar.replaceChildren(...(points.length ? [
      el("strong", {}, points.length > LISTED ? `${plural(points.length, "piece")} chosen, ${LISTED} of them below` : `${plural(points.length, "piece")} chosen`),
      el("button", { type: "button", onclick: () => this.app.onlyThese(chosen) }, "Only these as results"),
      el("button", { type: "button", onclick: () => this.app.likeAll(pieces) }, "More like these"),
      el("button", { type: "button", onclick: () => this.app.playlist.add(pieces) }, "Add to the playlist"),
      el("button", { type: "button", onclick: () => this.choose([]) }, "Let go"),
    ] : []));
  }

  draw() {
    if (!this.view || !this.canvas?.clientWidth) return;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const ratio = window.devicePixelRatio || 1;
    if (this.canvas.width !== Math.round(width * ratio) || this.canvas.height !== Math.round(height * ratio)) {
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
    }
    const pen = this.canvas.getContext("2d");
    const style = getComputedStyle(this.canvas);
    const colours = Object.fromEntries(MODALITIES.map((name) => [name, style.getPropertyValue(`--${name}`)]));
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    const hits = new Map(this.app.hits.map((hit, i) => [hit.id, i]));
    const radius = this.points.length > 4000 ? 2 : this.points.length > 500 ? 3 : 4.5;
    const dim = hits.size || this.chosen.size;
    for (const point of this.points) {
      const [x, y] = this.project(point);
      if (x < -9 || y < -9 || x > width + 9 || y > height + 9) continue;
      const important = hits.has(point.id) || this.chosen.has(point.id);
      pen.globalAlpha = dim && !important ? 0.35 : 0.9;
      pen.fillStyle = colours[point.modality] ?? colours.text;
      sign(pen, point.modality, x, y, important ? radius * 1.5 : radius);
      if (this.chosen.has(point.id)) ring(pen, x, y, radius * 1.5 + 3, style.getPropertyValue("--text-colour"));
    }
    pen.globalAlpha = 1;
    const current = this.points[this.current];
    if (current) ring(pen, ...this.project(current), radius * 1.5 + 6, style.getPropertyValue("--accent"));
    if (this.line) {
      pen.strokeStyle = style.getPropertyValue("--accent");
      pen.setLineDash([5, 4]);
      pen.lineWidth = 1.5;
      pen.beginPath();
      this.line.forEach(([x, y], i) => (i ? pen.lineTo(x, y) : pen.moveTo(x, y)));
      pen.stroke();
      pen.setLineDash([]);
    }
  }
}

/** Modalities differ in shape too, not in colour only. */
function sign(pen, modality, x, y, r) {
  pen.beginPath();
  if (modality === "midi") pen.rect(x - r * 0.9, y - r * 0.9, r * 1.8, r * 1.8);
  else if (modality === "audio") {
    pen.moveTo(x, y - r * 1.3);
    pen.lineTo(x + r * 1.2, y + r);
    pen.lineTo(x - r * 1.2, y + r);
  } else if (modality === "text") {
    pen.moveTo(x, y - r * 1.3);
    pen.lineTo(x + r * 1.3, y);
    pen.lineTo(x, y + r * 1.3);
    pen.lineTo(x - r * 1.3, y);
  } else pen.arc(x, y, r, 0, 2 * Math.PI);
  pen.fill();
}

function ring(pen, x, y, r, colour) {
  pen.globalAlpha = 1;
  pen.strokeStyle = colour;
  pen.lineWidth = 1.8;
  pen.beginPath();
  pen.arc(x, y, r, 0, 2 * Math.PI);
  pen.stroke();
}

/** Whether a point lies within a closed line: how often a ray from it crosses the line. */
function inside([x, y], line) {
  let within = false;
  for (let i = 0, j = line.length - 1; i < line.length; j = i, i += 1) {
    const [xi, yi] = line[i];
    const [xj, yj] = line[j];
    if ((yi > y) !== (yj > y) && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) within = !within;
  }
  return within;
}
