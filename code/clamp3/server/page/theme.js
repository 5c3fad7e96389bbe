// Runs before the first paint, so that the page does not flash in the other theme. No choice means that of the system.
"use strict";
(() => {
  const NEXT = { "": "light", light: "dark", dark: "" };
  const NAMES = { "": "as the system", light: "light", dark: "dark" };
  const root = document.documentElement;
  let theme = "";
  try {
    theme = localStorage.getItem("clamp3.theme") ?? "";
  } catch { /* storage is off: the system's theme */ }
  const apply = () => {
    if (theme) root.dataset.theme = theme;
    else delete root.dataset.theme;
    const button = document.getElementById("theme");
    if (button) {
      button.setAttribute("aria-label", `Theme: ${NAMES[theme]}`);
      button.title = `Theme: ${NAMES[theme]}`;
    }
    document.dispatchEvent(new Event("theme"));
  };
  apply();
  document.addEventListener("DOMContentLoaded", () => {
    apply();
    document.getElementById("theme").addEventListener("click", () => {
      theme = NEXT[theme] ?? "";
      try {
        localStorage.setItem("clamp3.theme", theme);
      } catch { /* it holds until the page is closed */ }
      apply();
    });
  });
})();
