// The page: reads the question from the address, asks the server, shows the answer. See docs/page.md.
import { Problem, request } from "./api.js";
import { $, announce, clearProblem, el, icon, plural, printable, sentence, showProblem, titleOf } from "./dom.js";
import { listen, showHelp } from "./keys.js";
import { MusicMap } from "./map.js";
import { notesOf, playable, thePlayer } from "./player.js";
import { Playlist } from "./playlist.js";
import { bodyOf, empty, fromHash, MODALITIES, MORE, NAMES, toHash, whereOf } from "./question.js";
import { card, markPlaying, skeleton } from "./results.js";
import { Tray } from "./tray.js";
import { update } from "./update.js";
import { Upload } from "./upload.js";

const PAGE = 30; // pieces listed at a time without a question
const MOST = 1000; // results that are looked through for those of a lasso

const app = {
  question: empty(),
  hits: [],
  info: null,
  only: null, // ids chosen on the map, while results are limited to them
  player: thePlayer(),

  /** Change the question, write it to the address and answer it. */
  ask(changes) {
    Object.assign(app.question, changes);
    const hash = `#${toHash(app.question)}`;
    if (hash !== (location.hash || "#")) history.pushState(null, "", hash === "#" ? location.pathname : hash);
    show();
    return run();
  },

  moreLike(piece, passage = null) {
    app.tray.know(piece);
    const stretch = passage && passage.unit !== "whole" ? { unit: passage.unit, start: passage.start, end: passage.end } : null;
    const part = { kind: "item", value: piece.id, weight: 1, stretch };
    app.only = null;
    $("tray").open = true;
    app.ask({ text: "", parts: [part], view: "results" }).then(() => window.scrollTo({ top: 0 }));
  },

  likeAll(pieces) {
    const chosen = pieces.slice(0, 16);
    for (const piece of chosen) app.tray.know(piece);
    app.ask({ text: "", view: "results", parts: chosen.map((piece) => ({ kind: "item", value: piece.id, weight: 1, stretch: null })) });
  },

  onlyThese(ids) {
    app.only = ids;
    app.ask({ view: "results" });
  },

  play(piece) {
    if (app.player.piece?.id === piece.id) app.player.toggle();
    else if (playable(piece)) app.player.play(piece);
    else announce(`${printable(titleOf(piece))} has no sound.`);
  },

  /** Play from where a passage begins; bars begin where the server says. */
  async playFrom(piece, passage) {
    let from = passage.start;
    if (passage.unit === "bars") {
      const { bars = [] } = await notesOf(piece.id).catch(() => ({}));
      from = bars[passage.start - 1] ?? 0;
    }
    app.player.play(piece, { from });
  },

  setView(view) {
    if (app.question.view !== view) app.ask({ view });
    $(`tab-${view}`).focus();
  },

  busy(on) {
    document.querySelector("main").setAttribute("aria-busy", String(on));
    document.body.classList.toggle("busy", on);
  },
};
app.tray = new Tray(app);
app.playlist = new Playlist(app);
app.map = new MusicMap(app);

let running = null;

/** Answer the question of the address. */
async function run() {
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  const body = bodyOf(app.question);
  if (app.only && body) body.top_k = MOST;
  app.busy(true);
  clearProblem();
  $("remarks").replaceChildren();
  if (!app.hits.length) $("list").replaceChildren(...skeleton());
  try {
    if (body) showHits(await request("search", { json: body, signal }));
    else if (app.only) showHits({ hits: await chosenPieces(signal), milliseconds: 0 });
    else await browse(null, signal);
  } catch (problem) {
    if (problem.name === "AbortError") return;
    app.hits = [];
    $("list").replaceChildren();
    $("further").hidden = true;
    announce("");
    if (problem.status === 503) return void wait(problem);
    const asked = problem.status >= 400 && problem.status < 500; // what the question is at fault for stays so
    showProblem(problem instanceof Problem ? problem : new Problem(`The page failed: ${problem.message}`), asked ? null : run);
  } finally {
    if (running?.signal === signal) {
      app.busy(false);
      if (app.question.view === "map") app.map.show();
    }
  }
}

function showHits({ hits, milliseconds, remarks = [] }) {
  app.hits = app.only ? hits.filter((hit) => app.only.has(hit.id)).slice(0, app.question.top) : hits;
  $("welcome").hidden = true;
  $("further").hidden = true;
  entitle("Results", false);
  const said = app.hits.length ? remarks : []; // that there is nothing is said once, below
  $("remarks").replaceChildren(...said.map((remark) => el("li", {}, sentence(remark))), ...limited());
  keepingFocus(() => $("list").replaceChildren(...app.hits.map((hit) => card(hit, app))));
  announce(app.hits.length ? `${plural(app.hits.length, "result")}${milliseconds ? ` in ${Math.max(1, Math.round(milliseconds))} ms` : ""}` : "No results");
  if (!app.hits.length) $("list").append(nothing());
  markPlaying(app.player);
}

/** Name the list; results need no heading but for those who go from heading to heading. */
function entitle(text, visible) {
  $("list-title").textContent = text;
  $("list-title").className = visible ? "list-title" : "sr";
}

/** Show a new list; who was in the old one is then at the same piece, or if it is gone at the same place. */
function keepingFocus(change) {
  const here = document.activeElement?.closest("#list > .card");
  const place = here ? [...$("list").children].indexOf(here) : -1;
  change();
  if (!here) return;
  const cards = [...$("list").querySelectorAll(".card")];
  const next = cards.find((node) => node.dataset.id === here.dataset.id) ?? cards[Math.min(place, cards.length - 1)];
  (next?.querySelector(".title") ?? $("words")).focus({ preventScroll: true });
}

const limited = () => (app.only ? [el("li", {}, `Only ${plural(app.only.size, "piece")} chosen on the map. `,
  el("button", { type: "button", class: "link", onclick: () => { app.only = null; run(); } }, "All again"))] : []);

function nothing() {
  const filtered = whereOf(app.question) !== null || app.only;
  return el("li", { class: "empty" },
    el("p", {}, filtered ? "Nothing passes these filters." : "Nothing was found."),
    filtered ? el("button", { type: "button", onclick: () => { app.only = null; clearFilters(); } }, "Clear the filters") : null);
}

/** Return the pieces chosen on the map that pass the filters. */
async function chosenPieces(signal) {
  const where = whereOf(app.question);
  const found = [];
  for (let after = null; ;) {
    const given = new URLSearchParams({ limit: 500, ...(where && { where }), ...(after && { after }) });
    const { items, next } = await request(`items?${given}`, { signal });
    found.push(...items.filter((piece) => app.only.has(piece.id)));
    if (!next || found.length >= app.only.size) return found;
    after = next;
  }
}

/** List the pieces of the index where nothing is asked for. */
async function browse(after, signal) {
  const where = whereOf(app.question);
  const given = new URLSearchParams({ limit: PAGE });
  if (where) given.set("where", where);
  if (after) given.set("after", after);
  const { items, next, total } = await request(`items?${given}`, { signal });
  if (!after) app.hits = [];
  $("remarks").replaceChildren();
  $("welcome").hidden = false;
  entitle(where ? "Pieces that pass the filters" : "In this library", total > 0);
  const cards = items.map((piece) => card(piece, app));
  if (after) $("list").append(...cards);
  else keepingFocus(() => $("list").replaceChildren(...cards));
  if (!total) $("list").append(where ? nothing() : el("li", { class: "empty" }, el("p", {}, "This index is empty. Add a folder to it: clamp3 index add FOLDER")));
  $("further").hidden = !next;
  $("further").onclick = () => browse(next).then(() => cards.at(-1)?.nextElementSibling?.querySelector(".title").focus()).catch(showProblem);
  announce(total ? plural(total, "piece") : "");
}

/** Show that the server is not ready yet, and ask again until it is. */
async function wait(problem) {
  announce(printable(problem.message));
  $("list").replaceChildren(...skeleton());
  await new Promise((resolve) => { setTimeout(resolve, 1500); });
  if (!app.info) await start();
  else await run();
}

/** Show the question in the controls; what somebody is typing, if it is given, stays. */
function show(typed = "") {
  const { question } = app;
  const words = typed.trim() ? typed : question.text;
  if ($("words").value.trim() !== words.trim()) $("words").value = words;
  for (const control of $("filters").elements) {
    if (!(control.name in question)) continue;
    if (control.type === "checkbox") control.checked = question[control.name];
    else if (document.activeElement !== control) control.value = question[control.name];
  }
  for (const chip of $("modalities").children) {
    chip.setAttribute("aria-pressed", String(question.modalities.includes(chip.dataset.modality)));
  }
  const set = MORE.filter((name) => question[name] !== empty()[name]).length + Number(question.passages) + Number(!question.words);
  $("more-count").textContent = set ? String(set) : "";
  for (const view of ["results", "map"]) {
    const here = question.view === view;
    $(`tab-${view}`).setAttribute("aria-selected", String(here));
    $(`tab-${view}`).tabIndex = here ? 0 : -1;
    $(view).hidden = !here;
  }
  const what = question.text || (question.parts.length ? "more like this" : "find music");
  document.title = `${printable(what).slice(0, 60)} · clamp3`;
  app.tray.show();
  app.playlist.show();
}

function clearFilters() {
  const fresh = empty();
  const names = [...MORE, "axisFrom", "axisTo", "passages", "words"];
  app.ask({ modalities: [], ...Object.fromEntries(names.map((name) => [name, fresh[name]])) });
}

function connect() {
  $("search").addEventListener("submit", (event) => {
    event.preventDefault();
    app.ask({ text: $("words").value.trim(), view: app.question.view });
  });
  $("home").addEventListener("click", (event) => {
    event.preventDefault();
    app.only = null;
    app.ask(empty());
  });
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  $("filters").addEventListener("change", ({ target }) => {
    if (!target.name) return;
    const numeric = ["axisShift", "diversity", "top"].includes(target.name);
    const value = target.type === "checkbox" ? target.checked : numeric ? Number(target.value) : target.value;
    app.ask({ [target.name]: value });
  });
  $("clear").addEventListener("click", clearFilters);
  $("help").addEventListener("click", showHelp);
  $("skip").addEventListener("click", (event) => {
    event.preventDefault(); // the part of the address after # is the question
    $(app.question.view).focus();
  });
  for (const view of ["results", "map"]) $(`tab-${view}`).addEventListener("click", () => app.setView(view));
  document.querySelector("[role=tablist]").addEventListener("keydown", (event) => {
    if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    event.preventDefault();
    app.setView(app.question.view === "map" ? "results" : "map");
  });
  window.addEventListener("popstate", () => {
    app.question = fromHash(location.hash);
    show();
    run();
  });
  app.player.addEventListener("change", () => markPlaying(app.player));
  app.upload = new Upload(app);
  listen(app);
}

/** Show what this index holds. */
function introduce(info) {
  const chips = MODALITIES.filter((name) => info.by_modality[name]).map((name) =>
    el("button", {
      type: "button", "data-modality": name, "aria-pressed": "false", class: `chip ${name}`,
      onclick: () => {
        const { modalities } = app.question;
        app.ask({ modalities: modalities.includes(name) ? modalities.filter((other) => other !== name) : [...modalities, name] });
      },
    }, icon(name), `${NAMES[name]} `, el("small", {}, info.by_modality[name].toLocaleString("en"))));
  $("modalities").replaceChildren(...(chips.length > 1 ? chips : []));
  const examples = info.examples.map((text) =>
    el("li", {}, el("button", { type: "button", class: "example", lang: "", onclick: () => app.ask({ text }) }, text)));
  $("welcome").replaceChildren(
    el("h2", {}, "Find music by words, by a score, by MIDI or by sound"),
    el("p", { class: "quiet" }, `${plural(info.pieces, "piece")} in this library. Try one of these, drop a file anywhere, or hum:`),
    el("ul", { class: "examples" }, examples),
    el("p", {}, el("button", { type: "button", class: "link", onclick: () => update(refresh) }, "Look for new files")));
}

/** Show the index as it is now. */
async function refresh() {
  introduce(await request("info"));
  app.map.forget();
  show($("words").value);
  await run();
}

/** Leave out what this server cannot do. */
function limit(info) {
  const passages = $("filters").elements.passages;
  passages.disabled = !info.passages;
  if (!info.passages) passages.parentElement.append(" (this index was made without ", el("code", {}, "--passages"), ")");
  if (!(info.can.audio ?? info.can.hear)) {
    $("hum").disabled = true;
    $("hum").title = "This server has no model for recordings.";
  }
}

async function start() {
  try {
    app.info = await request("info");
  } catch (problem) {
    if (problem.status === 503) return wait(problem);
    return showProblem(problem, start);
  }
  introduce(app.info);
  limit(app.info);
  show($("words").value);
  return run();
}

app.question = fromHash(location.hash);
if (matchMedia("(min-width: 60rem)").matches) {
  for (const id of ["tray", "playlist"]) $(id).open = true;
  $("more").open = false;
}
connect();
start();
