// Buttons, selects and keys.

import { $ } from "./dom.js";
import { chooseTool, endDrawing, keyWhileDrawing, showHint, tool } from "./drawing.js";
import { say, showFallback } from "./link.js";
import { page, remember, VIEWS } from "./model.js";

const KEYS_TO_BUTTON = { a: "align", p: "pick", m: "measure" };

let removing = false; // X was pressed; a digit follows

export function tellView() {
  say({ type: "view", view: page.view, ...(page.palette ? { palette: page.palette } : {}) });
  showFallback();
}

export function chooseView(name) {
  remember("view", name);
  for (const button of $("views").children) {
    const chosen = button.dataset.view === name;
    button.setAttribute("aria-checked", chosen);
    button.tabIndex = chosen ? 0 : -1;
  }
  endDrawing();
  tellView();
}

$("views").addEventListener("click", (event) => {
  const button = event.target.closest("[data-view]");
  if (button) chooseView(button.dataset.view);
});
$("views").addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (!step || event.altKey) return;
  const buttons = [...$("views").children];
  const next = buttons[(VIEWS.indexOf(page.view) + step + buttons.length) % buttons.length];
  chooseView(next.dataset.view);
  next.focus();
  event.preventDefault();
  event.stopPropagation();
});

const actions = {
  pause: () => say({ type: "pause", on: !page.status?.run.paused }),
  record: () => !$("record").disabled && say({ type: "record", on: !page.status.run.recording }),
  snapshot: () => say({ type: "snapshot" }),
};
for (const [id, action] of Object.entries(actions)) $(id).addEventListener("click", action);
$("help-open").addEventListener("click", () => $("help").showModal());

for (const id of ["method", "pooling"]) {
  $(id).addEventListener("change", () => {
    say({ type: "fusion", method: $("method").value, pooling: $("pooling").value });
  });
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || $("help").open) return;
  if (page.drawing) {
    keyWhileDrawing(event);
    return;
  }
  const within = event.target.closest("select, input, button, a");
  if (within && within.tagName !== "BUTTON") return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (removing) {
    removing = false;
    showHint();
    if (/^[1-9]$/.test(key)) say({ type: "remove", target: Number(key) });
  } else if (tool().key?.(event)) return;
  else if (key === "Escape" && page.tool !== "follow") chooseTool("follow");
  else if (VIEWS[Number(key) - 1]) chooseView(VIEWS[Number(key) - 1]);
  else if (key === " " && !within) actions.pause();
  else if (key === "r") actions.record();
  else if (key === "s") actions.snapshot();
  else if (key === "n") $("add").click();
  else if (KEYS_TO_BUTTON[key]) $(KEYS_TO_BUTTON[key]).click();
  else if (key === "?") $("help").showModal();
  else if (key === "x") {
    removing = true;
    showHint("Let which target go? Press its number.");
  } else return;
  event.preventDefault();
});
