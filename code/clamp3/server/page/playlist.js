// A playlist: pieces in order, by hand, as a path between two of the selection, or from seeds; saved as M3U8.
import { pathOf, request } from "./api.js";
import { $, announce, button, clock, el, foreign, plural, printable, refill, showProblem, titleOf } from "./dom.js";
import { playable } from "./player.js";

const LENGTHS = [5, 10, 20, 40];

export class Playlist {
  constructor(app) {
    this.app = app;
    this.pieces = [];
    this.length = 10;
  }

  add(pieces) {
    const known = new Set(this.pieces.map((piece) => piece.id));
    const fresh = pieces.filter((piece) => playable(piece) && !known.has(piece.id));
    this.pieces.push(...fresh);
    announce(fresh.length === 1 ? `${printable(titleOf(fresh[0]))} is in the playlist.`
      : fresh.length ? `${plural(fresh.length, "piece")} added to the playlist.` : "In the playlist already.");
    this.show();
  }

  /** Make a playlist like some parts, or with `to` a path, which begins and ends with what it leads from and to. */
  async make(seeds, to = null) {
    try {
      const ends = to ? [...seeds, to] : [];
      const [first, last] = await Promise.all(ends.map((part) => (part.item ? request(pathOf(part.item)) : null)));
      const n = Math.max(1, this.length - [first, last].filter(Boolean).length);
      const { hits } = await request("playlist", { json: to ? { from: seeds[0], to, n } : { seeds, n } });
      this.pieces = [first, ...hits, last].filter((piece) => piece && playable(piece));
      $("playlist").open = true;
      announce(`A playlist of ${plural(this.pieces.length, "piece")}.`);
      this.show();
    } catch (problem) {
      showProblem(problem);
    }
  }

  move(place, by) {
    const [piece] = this.pieces.splice(place, 1);
    this.pieces.splice(place + by, 0, piece);
    announce(`${printable(titleOf(piece))} is number ${place + by + 1}.`);
    this.show();
    const rows = $("playlist-body").querySelectorAll("li");
    rows[place + by].querySelector(by < 0 ? ".up:not(:disabled)" : ".down:not(:disabled)")?.focus();
  }

  remove(place) {
    this.pieces.splice(place, 1);
    this.show();
    const rows = $("playlist-body").querySelectorAll("li .remove");
    (rows[place] ?? rows[place - 1] ?? $("playlist").querySelector("summary")).focus();
  }

  playAll(place = 0) {
    if (this.pieces[place]) this.app.player.play(this.pieces[place], { queue: [...this.pieces], place });
  }

  async save() {
    try {
      const ids = this.pieces.map((piece) => encodeURIComponent(piece.id)).join(",");
      const blob = await request(`playlist.m3u8?ids=${ids}`, { as: "blob" });
      const address = URL.createObjectURL(blob);
      el("a", { href: address, download: "clamp3.m3u8" }).click();
      setTimeout(() => URL.revokeObjectURL(address), 60_000);
      const without = this.pieces.filter((piece) => !piece.has.media).length;
      if (without) announce(`Saved without ${plural(without, "score")}, which players cannot play.`);
    } catch (problem) {
      showProblem(problem);
    }
  }

  show() {
    const n = this.pieces.length;
    $("playlist-count").textContent = n ? String(n) : "";
    const seconds = this.pieces.reduce((sum, piece) => sum + (piece.duration || 0), 0);
    const rows = this.pieces.map((piece, place) => this.row(piece, place));
    refill($("playlist-body"),
      n ? el("ol", { class: "pieces" }, rows)
        : el("p", { class: "quiet" }, "Add results with “Add to the playlist”, or let one be made from the selection."),
      n ? el("div", { class: "buttons" },
        el("button", { type: "button", class: "primary", onclick: () => this.playAll() }, "Play all"),
        el("button", { type: "button", onclick: () => this.save() }, "Save as M3U8"),
        el("button", { type: "button", onclick: () => { this.pieces = []; this.show(); } }, "Empty it"),
        seconds ? el("span", { class: "quiet" }, clock(seconds)) : "") : "",
      this.makers());
  }

  /** What the selection offers. */
  makers() {
    const liked = this.app.tray.liked();
    const length = el("select", { "data-key": "length", "aria-label": "Pieces in the playlist", onchange: () => { this.length = Number(length.value); } },
      LENGTHS.map((n) => el("option", { value: n, selected: n === this.length }, `${n} pieces`)));
    const path = liked.length === 2
      && el("button", { type: "button", "data-key": "path", onclick: () => this.make([liked[0]], liked[1]) }, "Path between the two");
    const seeds = liked.length > 0
      && el("button", { type: "button", "data-key": "seeds", onclick: () => this.make(liked) }, "Like the selection");
    return liked.length ? el("div", { class: "buttons" }, path, seeds, length) : "";
  }

  row(piece, place) {
    const title = printable(titleOf(piece));
    const last = this.pieces.length - 1;
    return el("li", {},
      el("button", { type: "button", class: "link label", onclick: () => this.playAll(place), "aria-label": `Play ${title}` }, foreign(titleOf(piece))),
      button("up", `Move ${title} up`, () => this.move(place, -1), { class: "up", disabled: place === 0 }),
      button("down", `Move ${title} down`, () => this.move(place, 1), { class: "down", disabled: place === last }),
      button("close", `Remove ${title} from the playlist`, () => this.remove(place), { class: "remove" }));
  }
}
