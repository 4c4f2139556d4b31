// Registration by pairs of points: a point in the visible picture and its partner in the thermal one, both as the
// cameras gave them. From four pairs on the run is asked what they would give, and shows it with its error.

import { $, toast } from "./dom.js";
import { addTool, arrowMove, chooseTool, hundredths } from "./drawing.js";
import { say } from "./link.js";
import { page } from "./model.js";
import { unpack } from "./picture.js";

const ROLES = ["visible", "thermal"];
const LEAST = 4;
const MOST = 48;
const GRAB_PX = 16;
const ASK_MS = 120;
const HOLD_MS = 20000; // the run lets go of a picture after a minute
const LOUPE = { size: 132, zoom: 5 };

let picking = null; // {frame, sides: {visible, thermal}, pairs: [{visible, thermal}], errors, asked, used, saving}
let asking = null;
let holding = null;

addTool("points", {
  hint: "Click a point in one picture and its partner in the other, four times or more.",
  taken: open,
  left: close,
  key(event) {
    if (event.key === "Backspace" || event.key === "u") undo();
    else if (event.key === "Escape") chooseTool("follow");
    return true; // other keys would act on a picture that is not seen
  },
});

async function open() {
  const { frame } = page.shown.header;
  say({ type: "hold", frame });
  holding = setInterval(hold, HOLD_MS);
  const opened = (picking = { frame, sides: {}, pairs: [], errors: [], asked: 0, used: null, saving: false });
  const pictures = await Promise.all(ROLES.map((role) => load(role, frame))).catch((error) => {
    toast(error.message, true);
    return null;
  });
  if (picking !== opened) return;
  if (!pictures) {
    chooseTool("follow");
    return;
  }
  const { visible_wh: visible, thermal_wh: thermal } = page.status.registration;
  opened.sides.visible = makeSide("visible", pictures[0], visible);
  opened.sides.thermal = makeSide("thermal", pictures[1], thermal);
  $("picking").hidden = false;
  for (const id of ["views", "screen", "strip"]) $(id).hidden = true;
  $("pick").setAttribute("aria-pressed", "true");
  $("plane").value = page.status.registration.plane_distance_m ?? "";
  show();
  sides().forEach(paint);
  $("picking").scrollIntoView({ block: "nearest" });
  opened.sides.visible.canvas.focus({ preventScroll: true });
}

function close() {
  clearInterval(holding);
  say({ type: "hold", frame: null });
  picking = null;
  $("picking").hidden = true;
  for (const id of ["views", "screen", "strip"]) $(id).hidden = false;
  $("pick").setAttribute("aria-pressed", "false");
}

export function hold() {
  if (picking) say({ type: "hold", frame: picking.frame });
}

async function load(role, frame) {
  const answer = await fetch(`/api/registration/${role}.jpg?frame=${frame}`);
  if (!answer.ok) throw new Error(await answer.text());
  return createImageBitmap(await answer.blob());
}

const sides = () => Object.values(picking.sides);

function makeSide(role, bitmap, size) {
  return { role, bitmap, size, canvas: $(`pick-${role}`), cursor: null, grabbed: null };
}

// ---------------------------------------------------------------- points

const complete = () => picking.pairs.filter((pair) => pair.visible && pair.thermal);

function place(role, point) {
  let pair = picking.pairs.find((candidate) => !candidate[role]);
  if (!pair) {
    if (picking.pairs.length >= MOST) return null;
    pair = {};
    picking.pairs.push(pair);
  }
  pair[role] = point;
  pair.last = role;
  return pair;
}

function undo() {
  const pair = picking.pairs.at(-1);
  if (!pair) return;
  const other = ROLES.find((role) => role !== pair.last);
  if (pair[other]) {
    delete pair[pair.last];
    pair.last = other;
  } else picking.pairs.pop();
  changed();
}

function changed() {
  picking.errors = [];
  show();
  sides().forEach(paint);
  clearTimeout(asking);
  asking = setTimeout(ask, ASK_MS);
}

function chosen() {
  const pairs = complete();
  const distance = Number($("plane").value);
  return {
    visible: pairs.map((pair) => hundredths(pair.visible)),
    thermal: pairs.map((pair) => hundredths(pair.thermal)),
    plane_distance_m: distance > 0 ? distance : null,
  };
}

// ---------------------------------------------------------------- what they would give

async function ask() {
  if (!picking || complete().length < LEAST) return;
  const from = picking;
  const number = (from.asked += 1);
  const body = JSON.stringify({ frame: from.frame, ...chosen() });
  const answer = await fetch("/api/registration/preview", { method: "POST", body }).catch(() => null);
  if (picking !== from || number !== from.asked) return;
  if (!answer?.headers.get("content-type").startsWith("application/octet-stream")) {
    $("fit").textContent = answer ? (await answer.json()).error : "The run does not answer.";
    $("fit").dataset.bad = "true";
    if (answer?.status === 429) asking = setTimeout(ask, 800);
    return;
  }
  const { header, jpeg } = unpack(await answer.arrayBuffer());
  const bitmap = await createImageBitmap(jpeg);
  if (picking !== from || number !== from.asked) return;
  from.errors = header.errors_px;
  const preview = $("preview");
  [preview.width, preview.height] = [bitmap.width, bitmap.height];
  preview.getContext("2d").drawImage(bitmap, 0, 0);
  bitmap.close();
  const few = header.errors_px.length === LEAST;
  $("fit").textContent = `rms ${header.rms_px.toFixed(2)} px` + (few ? " – four points always fit; add more to see" : "");
  $("fit").dataset.bad = "false";
  $("pick-note").textContent = header.note;
  show();
  sides().forEach(paint);
}

function show() {
  const pairs = complete();
  const open = picking.pairs.find((pair) => !pair.visible || !pair.thermal);
  const enough = pairs.length >= LEAST;
  $("pick-next").textContent = open
    ? `Point ${picking.pairs.indexOf(open) + 1}: now its partner in the ${open.visible ? "thermal" : "visible"} picture.`
    : `${pairs.length} pairs. ${enough ? "More make it better." : `Click a point in either picture; ${LEAST} are needed.`}`;
  $("preview-figure").hidden = !enough;
  if (!enough) {
    $("fit").textContent = "";
    $("pick-note").textContent = "";
  }
  $("use-points").disabled = $("save-points").disabled = !enough;
  $("undo-point").disabled = picking.pairs.length === 0;
  $("point-errors").replaceChildren(
    ...picking.errors.map((error, number) => {
      const row = document.createElement("li");
      row.textContent = `${picking.pairs.indexOf(pairs[number]) + 1}: ${error.toFixed(2)} px`;
      row.dataset.worst = picking.errors.length > LEAST && error === Math.max(...picking.errors);
      return row;
    }),
  );
}

function use() {
  picking.used = JSON.stringify(chosen());
  say({ type: "register", ...chosen() });
}

$("pick").addEventListener("click", () => page.shown && chooseTool(page.tool === "points" ? "follow" : "points"));
$("undo-point").addEventListener("click", undo);
$("use-points").addEventListener("click", use);
$("close-points").addEventListener("click", () => chooseTool("follow"));
$("plane").addEventListener("change", () => picking && changed());
$("save-points").addEventListener("click", () => {
  if (picking.used === JSON.stringify(chosen())) say({ type: "calibration" });
  else {
    picking.saving = true; // once the run says that it uses them
    use();
  }
});

export function registered() {
  if (!picking?.saving) return;
  picking.saving = false;
  say({ type: "calibration" });
}

// ---------------------------------------------------------------- the two pictures

// Whole numbers are the centres of pixels, as in calibration files.
function pointOf(side, event) {
  const frame = side.canvas.getBoundingClientRect();
  return [
    inside(((event.clientX - frame.left) / frame.width) * side.size[0] - 0.5, side.size[0]),
    inside(((event.clientY - frame.top) / frame.height) * side.size[1] - 0.5, side.size[1]),
  ];
}

const inside = (value, length) => Math.min(Math.max(value, 0), length - 1);

function nearest(side, event) {
  const frame = side.canvas.getBoundingClientRect();
  const scale = frame.width / side.size[0];
  const [x, y] = pointOf(side, event);
  const near = picking.pairs
    .filter((pair) => pair[side.role])
    .map((pair) => [Math.hypot(pair[side.role][0] - x, pair[side.role][1] - y) * scale, pair])
    .sort((a, b) => a[0] - b[0])[0];
  return near && near[0] < GRAB_PX ? near[1] : null;
}

for (const role of ROLES) {
  const canvas = $(`pick-${role}`);
  const current = () => picking?.sides[role];
  canvas.addEventListener("pointerdown", (event) => {
    const side = current();
    if (!side || event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    side.grabbed = nearest(side, event) || place(role, pointOf(side, event));
    side.cursor = side.grabbed?.[role] ?? null;
    paint(side);
  });
  canvas.addEventListener("pointermove", (event) => {
    const side = current();
    if (!side?.grabbed) return;
    side.cursor = side.grabbed[role] = pointOf(side, event);
    paint(side);
  });
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, () => {
      const side = current();
      if (!side?.grabbed) return;
      side.grabbed = side.cursor = null;
      changed();
    });
  }
  canvas.addEventListener("keydown", (event) => {
    const side = current();
    const step = event.shiftKey ? 10 : event.altKey ? 0.25 : 1;
    const move = arrowMove(event.key, step);
    if (!side || !(move || event.key === "Enter")) return;
    side.cursor ||= [side.size[0] / 2, side.size[1] / 2];
    if (move) side.cursor = side.cursor.map((value, axis) => inside(value + move[axis], side.size[axis]));
    else if (place(role, [...side.cursor])) changed();
    paint(side);
    event.preventDefault();
    event.stopPropagation();
  });
  canvas.addEventListener("blur", () => {
    const side = current();
    if (!side) return;
    side.cursor = null;
    paint(side);
  });
}

addEventListener("resize", () => picking && sides().forEach(paint));

function paint(side) {
  const { canvas, bitmap, size, role, cursor } = side;
  const unit = devicePixelRatio;
  canvas.style.aspectRatio = `${size[0]} / ${size[1]}`;
  canvas.width = Math.round(canvas.clientWidth * unit);
  canvas.height = Math.round(canvas.clientHeight * unit);
  const pen = canvas.getContext("2d");
  const scale = canvas.width / size[0];
  const at = (point) => point.map((value) => (value + 0.5) * scale);
  pen.imageSmoothingEnabled = scale < 3;
  pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  picking.pairs.forEach((pair, number) => {
    if (pair[role]) paintPoint(pen, at(pair[role]), number + 1, pair.visible && pair.thermal ? "#5ede7c" : "#ffc24a");
  });
  if (cursor) paintLoupe(pen, side, at(cursor));
}

function paintPoint(pen, [x, y], number, color) {
  const unit = devicePixelRatio;
  for (const [shade, width] of [["rgb(0 0 0 / 70%)", 3.5], [color, 1.5]]) {
    pen.strokeStyle = shade;
    pen.lineWidth = width * unit;
    pen.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      pen.moveTo(x + 3 * unit * dx, y + 3 * unit * dy);
      pen.lineTo(x + 10 * unit * dx, y + 10 * unit * dy);
    }
    pen.stroke();
  }
  pen.font = `700 ${13 * unit}px system-ui, sans-serif`;
  pen.lineWidth = 3 * unit;
  pen.strokeStyle = "rgb(0 0 0 / 75%)";
  pen.strokeText(number, x + 8 * unit, y - 7 * unit);
  pen.fillStyle = color;
  pen.fillText(number, x + 8 * unit, y - 7 * unit);
}

// What is under the finger, enlarged, in the corner that is farthest from it.
function paintLoupe(pen, { bitmap, size }, [x, y]) {
  const { canvas } = pen;
  const unit = devicePixelRatio;
  const side = Math.min(LOUPE.size * unit, canvas.width / 3);
  const left = x < canvas.width / 2 ? canvas.width - side - 6 * unit : 6 * unit;
  const top = 6 * unit;
  const scale = canvas.width / size[0];
  const seen = side / LOUPE.zoom; // pixels of the canvas
  const factor = bitmap.width / size[0] / scale;
  pen.save();
  pen.beginPath();
  pen.roundRect(left, top, side, side, 10 * unit);
  pen.clip();
  pen.fillStyle = "#000";
  pen.fillRect(left, top, side, side);
  pen.imageSmoothingEnabled = false;
  const [fromX, fromY] = [(x - seen / 2) * factor, (y - seen / 2) * factor];
  pen.drawImage(bitmap, fromX, fromY, seen * factor, seen * factor, left, top, side, side);
  pen.restore();
  pen.strokeStyle = "#fff";
  pen.lineWidth = unit;
  pen.beginPath();
  pen.moveTo(left + side / 2, top + side * 0.3);
  pen.lineTo(left + side / 2, top + side * 0.7);
  pen.moveTo(left + side * 0.3, top + side / 2);
  pen.lineTo(left + side * 0.7, top + side / 2);
  pen.stroke();
  pen.strokeRect(left, top, side, side);
}
