// Requests to the server. Every failure becomes a Problem with one sentence; a 401 asks for the token and tries again.
import { $, el } from "./dom.js";

export class Problem extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

const BASE = new URL("../", import.meta.url); // the server's root, also behind a proxy that adds to the path
const addressOf = (path) => new URL(path, BASE).href;

const storage = () => {
  try {
    return window.sessionStorage;
  } catch {
    return null;
  }
};
let token = storage()?.getItem("clamp3.token") ?? "";
let asking = null;

export const pathOf = (id, rest = "") => `items/${encodeURIComponent(id)}${rest}`;

/** Return the answer: JSON unless `as` is "blob", "text" or "stream". */
export async function request(path, { json, body, signal, method, as = "json" } = {}) {
  for (;;) {
    const sent = token;
    const headers = {};
    if (sent) headers.authorization = `Bearer ${sent}`;
    if (json !== undefined) headers["content-type"] = "application/json";
    if (body !== undefined) headers["content-type"] = "application/octet-stream";
    let response;
    try {
      response = await fetch(addressOf(path), {
        method: method ?? (json !== undefined || body !== undefined ? "POST" : "GET"),
        headers,
        body: json !== undefined ? JSON.stringify(json) : body,
        signal,
      });
    } catch (problem) {
      if (problem.name === "AbortError") throw problem;
      throw new Problem("The server does not answer. Is it still running?");
    }
    if (response.status === 401) {
      if (token === sent) await askForToken(Boolean(sent));
      continue;
    }
    if (!response.ok) throw new Problem(await sentenceOf(response), response.status);
    if (as === "stream") return response.body;
    return as === "json" ? response.json() : as === "blob" ? response.blob() : response.text();
  }
}

/** Yield the data of server-sent events; an EventSource could send no token. */
export async function* events(path) {
  const reader = (await request(path, { as: "stream" })).pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (text + value).split("\n\n");
    text = parts.pop();
    for (const part of parts) if (part.startsWith("data: ")) yield JSON.parse(part.slice(6));
  }
}

async function sentenceOf(response) {
  try {
    const { error } = await response.json();
    if (typeof error === "string" && error) return error;
  } catch { /* not JSON: a proxy's page, for instance */ }
  return `The server answered ${response.status} ${response.statusText}`.trim() + ".";
}

/** Return an address that <audio> and <img> can load: they send no token, so with one the content is fetched here. */
export async function loadable(path) {
  return token ? URL.createObjectURL(await request(path, { as: "blob" })) : addressOf(path);
}

export function forget(address) {
  if (address?.startsWith("blob:")) URL.revokeObjectURL(address);
}

function askForToken(refused) {
  asking ??= new Promise((resolve) => {
    const dialog = $("dialog");
    const input = el("input", { type: "password", id: "token", autocomplete: "off", required: true });
    const form = el("form", {
      method: "dialog",
      onsubmit: () => {
        token = input.value.trim();
        storage()?.setItem("clamp3.token", token);
        asking = null;
        resolve();
      },
    },
    el("h2", { id: "dialog-title" }, "This server asks for its token"),
    el("p", {}, refused ? "That was another one. " : "", "It is what was given to serve.py as --token."),
    el("label", { for: "token" }, "Token"), input,
    el("button", { type: "submit", class: "primary" }, "Go on"));
    dialog.replaceChildren(form);
    // Escape would leave a page that can do nothing.
    dialog.addEventListener("close", () => asking && dialog.showModal());
    if (dialog.open) dialog.close();
    dialog.showModal();
    input.focus();
  });
  return asking;
}
