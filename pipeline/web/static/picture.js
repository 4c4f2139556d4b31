// The picture on its canvas. Pictures come with a credit of two; boxes are drawn here, on top of the picture, so they
// stay sharp at any size. While a box is being drawn the picture stands still.

import { $ } from "./dom.js";
import { say } from "./link.js";
import { page } from "./model.js";

export const canvas = $("picture");
export const COLORS = { tracking: "#5ede7c", uncertain: "#ffc24a", lost: "#ff6b6b" };

const context = canvas.getContext("2d", { alpha: false });
const layers = []; // drawn over the picture: painter(context, scale)
const listeners = []; // told of each picture that is shown: listener(header)
let waiting = []; // serials of pictures that came while the page was hidden

export const addLayer = (painter) => layers.push(painter);
export const onPicture = (listener) => listeners.push(listener);
export const forgetWaiting = () => (waiting = []);

const shape = (header) => `${header.width * header.panels}x${header.height}`;
const frozen = () => page.drawing !== null || page.tool === "points";

// A binary message: length of the header (4 bytes), header (JSON), JPEG.
export function unpack(data) {
  const length = new DataView(data).getUint32(0);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
  return { header, jpeg: new Blob([new Uint8Array(data, 4 + length)], { type: "image/jpeg" }) };
}

export async function receivePicture(data, isCurrent) {
  const { header, jpeg } = unpack(data);
  if (!frozen() && document.hidden) {
    waiting.push(header.serial); // unconfirmed, so the server stops after two
    return;
  }
  const bitmap = frozen() ? null : await createImageBitmap(jpeg);
  if (!isCurrent()) {
    bitmap?.close();
    return;
  }
  if (frozen()) {
    bitmap?.close();
    say({ type: "skipped", serial: header.serial });
    return;
  }
  const old = page.shown;
  page.shown = { header, bitmap };
  if (!old || shape(old.header) !== shape(header)) fit();
  paint();
  old?.bitmap.close();
  say({ type: "shown", serial: header.serial });
  $("veil").hidden = true;
  Object.assign(canvas.dataset, { frame: header.frame, view: header.view, panels: header.panels });
  for (const listener of listeners) listener(header);
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  for (const serial of waiting) say({ type: "skipped", serial });
  waiting = [];
});

function fit() {
  if (!page.shown) return;
  const { width, height, panels } = page.shown.header;
  const narrow = matchMedia("(max-width: 640px)").matches;
  const room = Math.max(innerHeight - (narrow ? 250 : 252), 200);
  const scale = Math.min($("screen").clientWidth / (width * panels), room / height);
  canvas.style.width = `${Math.floor(width * panels * scale)}px`;
  canvas.style.height = `${Math.floor(height * scale)}px`;
  canvas.width = Math.round(canvas.clientWidth * devicePixelRatio);
  canvas.height = Math.round(canvas.clientHeight * devicePixelRatio);
  paint();
}
new ResizeObserver(fit).observe($("screen"));
addEventListener("resize", fit);

export function paint() {
  if (!page.shown) return;
  const { header, bitmap } = page.shown;
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const scale = canvas.width / (header.width * header.panels);
  for (let panel = 0; panel < header.panels; panel += 1) {
    context.save();
    context.beginPath();
    context.rect(panel * header.width * scale, 0, header.width * scale, canvas.height);
    context.clip();
    context.translate(panel * header.width * scale, 0);
    for (const target of header.targets) paintTarget(target, scale);
    for (const painter of layers) painter(context, scale);
    context.restore();
  }
  if (page.drawing) paintDrawing(scale);
}

function paintTarget({ id, box, score, state, celsius }, scale) {
  const text = state === "lost" ? `${id} lost` : `${id}  ${score.toFixed(2)}`;
  const warmth = celsius ? `  ${celsius.highest.toFixed(1)} °C` : "";
  paintBox(context, box, scale, { color: COLORS[state] || COLORS.lost, dashed: state === "lost", text: text + warmth });
}

// A box in pixels of the picture with a label above it, or below where there is no room.
export function paintBox(pen, box, scale, { color, dashed = false, text }) {
  const [x, y, w, h] = box.map((value) => value * scale);
  const unit = devicePixelRatio;
  pen.lineJoin = "round";
  pen.setLineDash(dashed ? [6 * unit, 5 * unit] : []);
  pen.strokeStyle = "rgb(0 0 0 / 65%)";
  pen.lineWidth = 4 * unit;
  pen.strokeRect(x, y, w, h);
  pen.strokeStyle = color;
  pen.lineWidth = 2 * unit;
  pen.strokeRect(x, y, w, h);
  pen.setLineDash([]);
  const height = 20 * unit;
  paintLabel(pen, text, [x - unit, y >= height + 3 * unit ? y - height - 3 * unit : y + h + 3 * unit], color);
}

// Text on a dark ground, its top left corner at `place` in pixels of the canvas.
export function paintLabel(pen, text, [left, top], color) {
  const unit = devicePixelRatio;
  const height = 20 * unit;
  pen.font = `600 ${13 * unit}px system-ui, sans-serif`;
  const width = pen.measureText(text).width + 12 * unit;
  pen.fillStyle = "rgb(8 11 16 / 82%)";
  pen.beginPath();
  pen.roundRect(left, top, width, height, 4 * unit);
  pen.fill();
  pen.fillStyle = color;
  pen.textBaseline = "middle";
  pen.fillText(text, left + 6 * unit, top + height / 2 + unit / 2);
}

function paintDrawing(scale) {
  const [x, y, w, h] = drawnBox().map((value) => value * scale);
  const left = x + page.drawing.panel * page.shown.header.width * scale;
  const unit = devicePixelRatio;
  context.fillStyle = "rgb(5 8 12 / 38%)";
  context.beginPath();
  context.rect(0, 0, canvas.width, canvas.height);
  context.rect(left, y, w, h);
  context.fill("evenodd");
  context.strokeStyle = "#fff";
  context.lineWidth = 1.5 * unit;
  context.setLineDash([5 * unit, 4 * unit]);
  context.strokeRect(left, y, w, h);
  context.setLineDash([]);
}

export function drawnBox() {
  const [[x1, y1], [x2, y2]] = [page.drawing.start, page.drawing.end];
  return [Math.min(x1, x2), Math.min(y1, y2), Math.abs(x2 - x1), Math.abs(y2 - y1)];
}

// Where an event lies, in pixels of the picture with all its panels.
export function pointOf(event) {
  const place = canvas.getBoundingClientRect();
  const { width, height, panels } = page.shown.header;
  return [
    ((event.clientX - place.left) / place.width) * width * panels,
    ((event.clientY - place.top) / place.height) * height,
  ];
}

export function panelOf([x]) {
  const { width, panels } = page.shown.header;
  return Math.min(Math.max(Math.floor(x / width), 0), panels - 1);
}

export function intoPanel([x, y], panel) {
  const { width, height } = page.shown.header;
  return [Math.min(Math.max(x - panel * width, 0), width), Math.min(Math.max(y, 0), height)];
}

export function targetAt([x, y]) {
  const inside = page.shown.header.targets.filter(({ box: [left, top, w, h] }) => {
    return x >= left && x <= left + w && y >= top && y <= top + h;
  });
  inside.sort((a, b) => a.box[2] * a.box[3] - b.box[2] * b.box[3]);
  return inside[0];
}
