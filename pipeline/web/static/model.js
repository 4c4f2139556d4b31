// What the page knows at the moment; its parts share this one object.

export const VIEWS = ["fused", "visible", "thermal", "side", "tint"];

const remembered = (name, fallback) => localStorage.getItem(name) || fallback;

export const page = {
  view: VIEWS.includes(remembered("view", "")) ? remembered("view", "") : "fused",
  palette: remembered("palette", null), // null: the run's own
  tool: "follow", // what a drag on the picture does: follow, measure or align
  status: null, // the newest status message
  shown: null, // {header, bitmap}: what is on the canvas
  drawing: null, // {start, end, panel, frame, keyboard}: the box being drawn, in pixels of the picture
};

export function remember(name, value) {
  page[name] = value;
  localStorage.setItem(name, value);
}
