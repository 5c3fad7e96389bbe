// Elements from parts. Text is only ever set as text, so that no title of a file can become markup.

const SVG = "http://www.w3.org/2000/svg";

export const $ = (id) => document.getElementById(id);

/** Return a new element; `on…` properties are listeners, others attributes (false and null leave them out). */
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Return an icon of icons.svg, which screen readers skip. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `icons.svg#${name}`);
  svg.append(use);
  return svg;
}

/** Return a button with an icon; `label` is shown on hovering and read aloud, `text` stands beside the icon. */
export function button(name, label, onclick, { text = "", ...properties } = {}) {
  const caption = text ? el("span", {}, text) : null;
  return el("button", { type: "button", "aria-label": label, title: label, onclick, ...properties }, icon(name), caption);
}

/** Show other children; what had the keyboard has it again, if one of them has the same data-key. */
export function refill(box, ...children) {
  const key = box.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  box.replaceChildren(...children);
  if (key) box.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus();
}

/** Return text of a file with control characters, escapes and reversals of direction made visible and harmless. */
export function printable(text) {
  return String(text ?? "")
    .replace(/[\u0000-\u001f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0)))
    .replace(/[\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g, "\ufffd");
}

/** Return a sentence of the server as one that stands alone. */
export function sentence(text) {
  const shown = printable(text);
  return shown.slice(0, 1).toUpperCase() + shown.slice(1);
}

/** Return an element with text of a file, whose direction cannot reorder what stands around it. */
export const foreign = (text, properties = {}) => el("bdi", properties, printable(text));

/** Return seconds as minutes and seconds. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds || 0));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

export const plural = (n, one, many = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

/** What a piece is called: its title, else the last part of its name. */
export const titleOf = (piece) => piece.title || String(piece.name ?? "").split("/").pop() || "without a name";

/** What is said to screen readers and shown beside the views. */
export function announce(sentence) {
  $("status").textContent = sentence;
}

export function showProblem(problem, retry = null) {
  const again = retry && el("button", { type: "button", onclick: retry }, "Try again");
  const close = button("close", "Close this message", () => $("problem").replaceChildren());
  $("problem").replaceChildren(el("p", {}, sentence(problem.message ?? problem)), el("div", {}, again, close));
}

export const clearProblem = () => $("problem").replaceChildren();
