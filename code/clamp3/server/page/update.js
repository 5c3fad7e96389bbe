// Bringing the index up to date from the page: one job of the server, followed by its events.
import { events, Problem, request } from "./api.js";
import { $, button, el, plural, printable, showProblem } from "./dom.js";

let running = false;

/** Look for new, changed and removed files; call `changed` when the index is up to date. */
export async function update(changed) {
  if (running) return;
  running = true;
  show("Looking for files that are new, changed or gone …", el("progress", { "aria-label": "Update of the index" }));
  try {
    const { job } = await request("jobs", { json: { action: "update" } });
    let last = {};
    for await (last of events(`jobs/${encodeURIComponent(job)}/events`)) if (last.total) progress(last);
    if (last.state !== "done") throw new Problem(last.error ? `The update failed: ${last.error}` : "The server ended the update.");
    const failed = last.failed ? ` ${plural(last.failed, "file")} cannot be read (clamp3 index update names ${last.failed === 1 ? "it" : "them"}).` : "";
    await changed();
    show(`The index is up to date.${failed}`, button("close", "Close this message", () => $("update").replaceChildren()));
  } catch (problem) {
    $("update").replaceChildren();
    showProblem(problem, () => update(changed));
  } finally {
    running = false;
  }
}

const show = (text, ...more) => $("update").replaceChildren(el("p", {}, printable(text)), ...more);

/** Move the bar; what is read aloud changes only in tenths. */
function progress({ done, total }) {
  const bar = $("update").querySelector("progress");
  bar.max = total;
  bar.value = done;
  const tenth = Math.floor((10 * done) / total);
  if (bar.dataset.tenth === String(tenth)) return;
  bar.dataset.tenth = tenth;
  $("update").querySelector("p").textContent = `Updating: ${done.toLocaleString("en")} of ${plural(total, "file")}`;
}
