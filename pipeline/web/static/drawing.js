// The hand on the picture. What a drag, a tap and a key do is the business of the tool in use. Each tool gives `hint`,
// and of these what it needs: drawn(box, frame), tapped(point, frame), moved(delta), over(point or null, event),
// key(event) -> whether it was for the tool, taken(), left(). Points, boxes and deltas are in pixels of the visible
// picture.

import { $ } from "./dom.js";
import { say } from "./link.js";
import { page } from "./model.js";
import { canvas, drawnBox, intoPanel, paint, panelOf, pointOf, targetAt } from "./picture.js";

const CLICK_PX = 5;
const tools = {
  follow: {
    hint: $("hint").textContent,
    drawn: (box, frame) => say({ type: "add", frame, box }),
    tapped: (point) => {
      const target = targetAt(point);
      if (target) say({ type: "remove", target: target.id });
    },
    over: (point) => {
      const target = point && targetAt(point);
      canvas.dataset.over = target ? "target" : "";
      canvas.title = target ? `Let target ${target.id} go` : "";
    },
  },
};
let moving = null; // where the pointer was, for tools that move the picture

export function addTool(name, tool) {
  tools[name] = tool;
}

export const tool = () => tools[page.tool];

export function showHint(text = tool().hint) {
  $("hint").textContent = text;
}

export function chooseTool(name) {
  if (name === page.tool) return;
  endDrawing();
  tool().left?.();
  page.tool = name;
  canvas.dataset.tool = name;
  canvas.dataset.over = "";
  canvas.title = "";
  showHint();
  tool().taken?.();
  paint();
}

function beginDrawing(start, end, panel, keyboard) {
  page.drawing = { start, end, panel, keyboard, frame: page.shown.header.frame };
  say({ type: "hold", frame: page.drawing.frame });
}

export function endDrawing() {
  moving = null;
  if (!page.drawing) return;
  page.drawing = null;
  $("add").setAttribute("aria-pressed", "false");
  showHint();
  say({ type: "hold", frame: null });
  paint();
}

export const hundredths = (values) => values.map((value) => Math.round(value * 100) / 100);

function finish() {
  const { frame } = page.drawing;
  const box = hundredths(drawnBox());
  tool().drawn(box, frame);
  endDrawing();
}

canvas.addEventListener("pointerdown", (event) => {
  if (!page.shown || event.button !== 0) return;
  endDrawing();
  canvas.setPointerCapture(event.pointerId);
  const point = pointOf(event);
  if (tool().moved) {
    moving = point;
    return;
  }
  const panel = panelOf(point);
  const start = intoPanel(point, panel);
  beginDrawing(start, start, panel, false);
  page.drawing.origin = [event.clientX, event.clientY];
});

canvas.addEventListener("pointermove", (event) => {
  if (!page.shown) return;
  const point = pointOf(event);
  if (moving) {
    tool().moved([point[0] - moving[0], point[1] - moving[1]]);
    moving = point;
  } else if (page.drawing && !page.drawing.keyboard) {
    page.drawing.end = intoPanel(point, page.drawing.panel);
    paint();
  } else if (!page.drawing) tool().over?.(intoPanel(point, panelOf(point)), event);
});

canvas.addEventListener("pointerup", (event) => {
  moving = null;
  const { drawing } = page;
  if (!drawing || drawing.keyboard) return;
  drawing.end = intoPanel(pointOf(event), drawing.panel);
  if (Math.hypot(event.clientX - drawing.origin[0], event.clientY - drawing.origin[1]) > CLICK_PX) {
    const [, , w, h] = drawnBox();
    if (w >= 2 && h >= 2) finish();
    else endDrawing();
    return;
  }
  endDrawing();
  tool().tapped?.(drawing.start, drawing.frame);
});

canvas.addEventListener("pointercancel", endDrawing);
canvas.addEventListener("pointerleave", () => page.shown && tool().over?.(null));

$("add").addEventListener("click", () => {
  if (!page.shown || !tool().drawn) return;
  if (page.drawing) {
    endDrawing();
    return;
  }
  const { width, height } = page.shown.header;
  beginDrawing([width * 0.4, height * 0.4], [width * 0.6, height * 0.6], 0, true);
  $("add").setAttribute("aria-pressed", "true");
  showHint("Arrows move the box, Shift + arrows size it, Enter takes it, Esc drops it.");
  canvas.focus();
  paint();
});

// Where an arrow key points, so many pixels far; undefined for other keys.
export function arrowMove(key, step) {
  return { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[key];
}

export function keyWhileDrawing(event) {
  const { drawing, shown } = page;
  const { width, height } = shown.header;
  const step = event.altKey ? 1 : Math.max(Math.round(width / 80), 2);
  const move = arrowMove(event.key, step);
  if (event.key === "Enter") finish();
  else if (event.key === "Escape") endDrawing();
  else if (move && drawing.keyboard) {
    if (event.shiftKey) {
      drawing.end = [
        Math.min(Math.max(drawing.end[0] + move[0], drawing.start[0] + 4), width),
        Math.min(Math.max(drawing.end[1] + move[1], drawing.start[1] + 4), height),
      ];
    } else {
      const dx = Math.min(Math.max(move[0], -drawing.start[0]), width - drawing.end[0]);
      const dy = Math.min(Math.max(move[1], -drawing.start[1]), height - drawing.end[1]);
      drawing.start = [drawing.start[0] + dx, drawing.start[1] + dy];
      drawing.end = [drawing.end[0] + dx, drawing.end[1] + dy];
    }
    paint();
  } else return;
  event.preventDefault();
}
