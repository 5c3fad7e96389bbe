// The list of results: what a piece is, why it was found, its score, and what can be done with it.
import { forget, loadable, pathOf, request } from "./api.js";
import { button, clock, el, foreign, icon, printable, sentence, titleOf } from "./dom.js";
import { notesOf, pianoRoll, playable } from "./player.js";
import { NAMES, ONE } from "./question.js";

const FIRST_BARS = 8;
const FACTS = [["Composer", "composer"], ["Artist", "artist"], ["Album", "album"], ["Year", "year"], ["Genre", "genre"],
  ["Key", "key"], ["Metre", "metre"], ["Tempo", "tempo"], ["Kind", "kind"]];

/** Return one result as an item of the list. */
export function card(piece, app) {
  const details = el("div", { class: "details", id: `details-${piece.id}`, hidden: true });
  const title = el("button", {
    type: "button", class: "title", "aria-expanded": "false", "aria-controls": details.id,
    onclick: () => unfold(piece, app, title, details),
  }, marked(titleOf(piece), piece));
  const people = [piece.composer, piece.artist].filter((name, i, all) => name && all.indexOf(name) === i).join(", ");
  const node = el("li", { class: `card ${piece.modality}`, "data-id": piece.id },
    el("span", { class: "kind", title: NAMES[piece.modality] }, icon(piece.modality)),
    el("div", { class: "what" },
      el("h3", {}, title),
      el("p", { class: "by" },
        el("span", { class: "sr" }, `${ONE[piece.modality] ?? piece.modality}, `),
        people && marked(people, piece), facts(piece)),
      el("p", { class: "name" }, foreign(piece.name)),
      why(piece, app)),
    scoreBar(piece),
    actions(piece, app),
    details);
  node.piece = piece;
  return node;
}

function facts(piece) {
  const tempo = piece.tempo ? `♩ = ${Math.round(piece.tempo)}` : null;
  const length = piece.duration ? clock(piece.duration) : null;
  return [piece.year, piece.key, piece.metre, tempo, length, piece.genre]
    .filter(Boolean).map((fact) => el("span", { class: "fact" }, printable(fact)));
}

function scoreBar(piece) {
  if (piece.score === undefined) return null;
  const fill = el("i", {});
  fill.style.width = `${Math.max(0, Math.min(1, piece.score)) * 100}%`; // set from here: the policy forbids style="…"
  const shown = piece.score.toFixed(2);
  return el("div", { class: "score", role: "img", "aria-label": `similarity ${shown}`, title: `Cosine similarity ${piece.score.toFixed(4)}` },
    el("b", {}, shown), el("span", { class: "meter" }, fill));
}

/** Which passage it was, which words of the question it is called by, and which copies it stands for. */
function why(piece, app) {
  const reasons = [];
  const { passage } = piece;
  if (passage && passage.unit !== "whole") {
    const what = passage.text || `${passage.start}–${passage.end}`;
    reasons.push(el("span", {}, `Most alike: ${printable(what).replace("-", "–")}`));
    if (playable(piece)) {
      reasons.push(el("button", { type: "button", class: "link", onclick: () => app.playFrom(piece, passage) }, "Play from there"));
    }
    reasons.push(el("button", { type: "button", class: "link", onclick: () => app.moreLike(piece, passage) }, "More like this passage"));
  }
  if (piece.called?.length) reasons.push(el("span", {}, "In its name: ", foreign(piece.called.join(", "))));
  if (piece.also?.length) {
    const names = piece.also.map(printable).join(", ");
    reasons.push(el("span", { title: names }, `Same content in ${piece.also.length} more`));
  }
  return reasons.length ? el("p", { class: "why" }, reasons) : null;
}

const folded = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();

/** Return a text of a piece with the words marked that the question found. */
function marked(text, piece) {
  const asked = new Set(piece.called ?? []);
  const parts = printable(text).split(/([\p{L}\p{M}\p{N}]+)/u);
  return el("bdi", {}, parts.map((part) => (asked.has(folded(part)) ? el("mark", {}, part) : part)));
}

function actions(piece, app) {
  const title = printable(titleOf(piece));
  const can = playable(piece);
  return el("div", { class: "actions", role: "group", "aria-label": `Actions for ${title}` },
    can && button("play", `Play ${title}`, () => app.play(piece), { class: "play" }),
    button("like", `More like ${title}`, () => app.moreLike(piece), { class: "like", text: "More like this" }),
    button("plus", `Add ${title} to the selection`, () => app.tray.add(piece, 1)),
    button("minus", `Add ${title} to the selection as unlike`, () => app.tray.add(piece, -1)),
    can && button("queue", `Add ${title} to the playlist`, () => app.playlist.add([piece])));
}

async function unfold(piece, app, title, details) {
  const open = details.hidden;
  details.hidden = !open;
  title.setAttribute("aria-expanded", String(open));
  if (!open || details.childElementCount) return;
  const list = FACTS.filter(([, field]) => piece[field]).map(([label, field]) =>
    el("div", {}, el("dt", {}, label), el("dd", {}, foreign(piece[field]))));
  const score = el("div", { class: "engraving" });
  const roll = el("div", { class: "notes" });
  details.append(score, roll, el("dl", {}, list));
  await Promise.all([engrave(piece, score), piece.has?.notes && drawNotes(piece, app, roll)]);
}

async function engrave(piece, box) {
  if (!piece.has?.engraving) return;
  const path = pathOf(piece.id, `/engraving.svg?bars=${FIRST_BARS}`);
  box.append(el("p", { class: "waiting" }, "Engraving the first bars …"));
  try {
    const address = await loadable(path);
    const image = el("img", { alt: `The first bars of ${printable(titleOf(piece))}`, src: address });
    await image.decode().catch(async () => {
      await request(path, { as: "text" }); // throws the server's sentence
      throw new Error("This browser cannot show the engraving.");
    });
    forget(address);
    box.replaceChildren(image);
  } catch (problem) {
    box.replaceChildren(el("p", { class: "quiet" }, sentence(problem.message)));
  }
}

async function drawNotes(piece, app, box) {
  try {
    const answer = await notesOf(piece.id);
    if (answer.notes.length) box.replaceChildren(pianoRoll(piece, app.player, answer));
  } catch (problem) {
    box.replaceChildren(el("p", { class: "quiet" }, sentence(problem.message)));
  }
}

/** Mark what plays in the lists. */
export function markPlaying(player) {
  for (const node of document.querySelectorAll(".card")) {
    const playing = player.isPlaying(node.dataset.id);
    if (node.classList.toggle("on", player.piece?.id === node.dataset.id) || node.sounding) {
      const play = node.querySelector(".play");
      if (play && node.sounding !== playing) {
        play.replaceChildren(icon(playing ? "pause" : "play"));
        const label = `${playing ? "Pause" : "Play"} ${printable(titleOf(node.piece))}`;
        play.setAttribute("aria-label", label);
        play.title = label;
      }
      node.sounding = playing;
    }
  }
}

/** Return a few grey cards: results are on their way. */
export const skeleton = () => Array.from({ length: 5 }, () => el("li", { class: "card skeleton", "aria-hidden": "true" }));
