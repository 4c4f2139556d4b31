// Registration by hand: the thermal picture is moved on the visible one with keys, buttons or a finger, and what came
// of it is shown, taken back, refined and saved.

import { chooseView } from "./controls.js";
import { $ } from "./dom.js";
import { addTool, chooseTool } from "./drawing.js";
import { say } from "./link.js";
import { page } from "./model.js";

const SEND_MS = 150; // the run takes eight commands a second
const SCALE = 1.005;
const TURN_DEG = 0.25;
const ORIGINS = { sizes: "by size alone", file: "from file", nudged: "moved", points: "by points", refined: "refined" };

let pending = null; // moves that have not been sent yet
let timer = null;

export function nudge({ shift = [0, 0], scale = 1, turn = 0 }) {
  pending ||= { shift: [0, 0], scale: 1, turn_deg: 0 };
  pending.shift = [pending.shift[0] + shift[0], pending.shift[1] + shift[1]];
  pending.scale *= scale;
  pending.turn_deg += turn;
  if (timer === null) send();
}

function send() {
  timer = null;
  if (!pending) return;
  say({ type: "nudge", ...pending });
  pending = null;
  timer = setTimeout(send, SEND_MS);
}

function key(event) {
  const far = event.shiftKey ? 10 : 1;
  const moves = event.altKey
    ? {
        ArrowUp: { scale: SCALE },
        ArrowDown: { scale: 1 / SCALE },
        ArrowLeft: { turn: -TURN_DEG },
        ArrowRight: { turn: TURN_DEG },
      }
    : {
        ArrowUp: { shift: [0, -far] },
        ArrowDown: { shift: [0, far] },
        ArrowLeft: { shift: [-far, 0] },
        ArrowRight: { shift: [far, 0] },
        "+": { scale: SCALE },
        "-": { scale: 1 / SCALE },
      };
  if (event.key === "u") say({ type: "registration", step: "undo" });
  else if (moves[event.key]) nudge(moves[event.key]);
  else return false;
  event.preventDefault();
  return true;
}

addTool("align", {
  hint: "Drag or arrows move the thermal picture, Shift: far, Alt + ↑ ↓: size, Alt + ← →: turn, U: undo, Esc: done.",
  moved: (delta) => nudge({ shift: delta }),
  key,
  taken() {
    if (page.view !== "tint" && page.view !== "side") chooseView("tint");
    $("align").setAttribute("aria-pressed", "true");
    $("pad").hidden = false;
    $("screen").scrollIntoView({ block: "nearest" });
    $("picture").focus({ preventScroll: true });
  },
  left() {
    $("align").setAttribute("aria-pressed", "false");
    $("pad").hidden = true;
  },
});

$("align").addEventListener("click", () => chooseTool(page.tool === "align" ? "follow" : "align"));

$("aligned").addEventListener("click", () => chooseTool("follow"));

// Buttons go on while they are held, as keys do.
let held = null;
const release = () => {
  clearInterval(held);
  held = null;
};
for (const button of $("pad").querySelectorAll("[data-move]")) {
  const [kind, value] = button.dataset.move.split(":");
  const step = () => {
    if (kind === "scale") nudge({ scale: SCALE ** Number(value) });
    else if (kind === "turn") nudge({ turn: TURN_DEG * Number(value) });
    else nudge({ shift: value.split(",").map((part) => Number(part) * Number($("stride").value)) });
  };
  button.addEventListener("pointerdown", () => {
    release();
    held = setInterval(step, 120);
  });
  for (const name of ["pointerup", "pointerleave", "pointercancel"]) button.addEventListener(name, release);
  button.addEventListener("click", step);
}

for (const [id, step] of [["unregister", "undo"], ["reset", "reset"], ["refine", "refine"]]) {
  $(id).addEventListener("click", () => say({ type: "registration", step }));
}
$("save-registration").addEventListener("click", () => say({ type: "calibration" }));

export function showRegistration({ registration }) {
  for (const id of ["align", "pick", "refine", "save-registration"]) $(id).disabled = !registration.ready;
  $("unregister").disabled = $("reset").disabled = !registration.undo;
  if (!registration.ready) return;
  const { shift_xy: [x, y], scale, turn_deg: turn, rms_px: rms } = registration;
  const across = `${Math.abs(x).toFixed(1)} ${x < 0 ? "left" : "right"}`;
  const along = `${Math.abs(y).toFixed(1)} ${y < 0 ? "up" : "down"}`;
  const parts = [`${across}, ${along}`, `× ${scale.toFixed(3)}`, `${turn.toFixed(2)}°`];
  if (rms !== null) parts.push(`rms ${rms.toFixed(2)} px`);
  $("origin").textContent = ORIGINS[registration.origin];
  $("moved").textContent = registration.undo ? parts.join("  ·  ") : rms === null ? "" : parts.at(-1);
  $("note").textContent = registration.note;
}

// A calibration that was saved is offered at once.
export function offerCalibration(names) {
  const name = names.find((file) => file.endsWith(".yaml"));
  if (!name) return;
  for (const link of document.querySelectorAll(".saved-calibration")) {
    link.href = `/recordings/${encodeURIComponent(name)}`;
    link.download = name;
    link.textContent = `Load ${name}`;
    link.hidden = false;
  }
}
