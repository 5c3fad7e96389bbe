// Keys of the page, and the dialog that lists them. Single letters can be switched off there.
import { $, el } from "./dom.js";

const KEYS = [
  ["/", "to the search box"],
  ["j or ↓, k or ↑", "next, previous result"],
  ["Enter", "show score, notes and facts of a result"],
  ["p", "play the result, or pause"],
  ["m", "more like it"],
  ["+, −", "add it to the selection as like, as unlike"],
  ["a", "add it to the playlist"],
  ["r, v", "results, map"],
  ["f", "search by a file"],
  ["h", "hum: start and stop the microphone"],
  ["t", "to the selection"],
  ["l", "to the playlist"],
  ["?", "this help"],
  ["Escape", "stop what plays; close a dialog"],
];

let single = true;
try {
  single = localStorage.getItem("clamp3.keys") !== "off";
} catch { /* storage is off */ }

export function showHelp() {
  const dialog = $("dialog");
  const box = el("input", {
    type: "checkbox", checked: single,
    onchange: () => {
      single = box.checked;
      try {
        localStorage.setItem("clamp3.keys", single ? "on" : "off");
      } catch { /* it holds until the page is closed */ }
    },
  });
  dialog.replaceChildren(
    el("h2", { id: "dialog-title" }, "How to search here"),
    el("p", {}, "Describe the music in any language, drop a file (score, MIDI, recording or picture) anywhere, or hum. Names and titles count too: “Maple Leaf Rag” finds pieces of that name. Refine with + and − on results; the address of the page holds the question, so it can be kept and shared."),
    el("dl", { class: "keys" }, KEYS.map(([key, what]) => el("div", {}, el("dt", {}, el("kbd", {}, key)), el("dd", {}, what)))),
    el("label", { class: "check" }, box, " Single keys work (Tab, Enter and arrows always do)"),
    el("form", { method: "dialog" }, el("button", { class: "primary", autofocus: true }, "Close")));
  dialog.showModal();
}

/** Listen to keys; `app` does what they ask for. */
export function listen(app) {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || $("dialog").open) return;
    const typing = event.target.matches("input:not([type=checkbox], [type=range]), textarea, select");
    if (event.key === "Escape") {
      if (typing) event.target.blur();
      else app.player.stop();
      return;
    }
    const arrow = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (typing || (arrow && event.target.matches("input, canvas, [role=tab]"))) {
      // From the search box one steps down to the results.
      if (arrow === 1 && event.target === $("words")) go(event, 1);
      return;
    }
    if (arrow) go(event, arrow);
    else if (single) letter(event, app);
  });
}

function letter(event, app) {
  const node = document.activeElement?.closest(".card");
  const piece = node?.piece;
  const general = {
    "/": () => $("words").select(),
    "?": showHelp,
    j: () => go(event, 1),
    k: () => go(event, -1),
    r: () => app.setView("results"),
    v: () => app.setView("map"),
    f: () => $("open").click(),
    h: () => $("hum").click(),
    t: () => openPanel("tray"),
    l: () => openPanel("playlist"),
  };
  const ofPiece = {
    m: () => app.moreLike(piece),
    "+": () => app.tray.add(piece, 1),
    "=": () => app.tray.add(piece, 1),
    "-": () => app.tray.add(piece, -1),
    a: () => app.playlist.add([piece]),
  };
  if (event.key === "p") {
    if (piece) app.play(piece);
    else app.player.toggle();
  } else if (Object.hasOwn(general, event.key)) general[event.key]();
  else if (piece && Object.hasOwn(ofPiece, event.key)) ofPiece[event.key]();
  else return;
  event.preventDefault();
}

function openPanel(id) {
  $(id).open = true;
  $(id).querySelector("summary").focus();
}

/** Step through the titles of the list that is shown. */
function go(event, by) {
  const titles = [...document.querySelectorAll("[role=tabpanel]:not([hidden]) .card .title")];
  if (!titles.length) return;
  event.preventDefault();
  const here = titles.indexOf(document.activeElement?.closest(".card")?.querySelector(".title"));
  const next = titles[here < 0 ? (by > 0 ? 0 : titles.length - 1) : here + by];
  if (next) {
    next.focus({ preventScroll: true });
    next.closest(".card").scrollIntoView({ block: "nearest" });
  } else if (here === 0) $("words").focus();
}
