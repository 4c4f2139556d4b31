// The thermal picture: its colours and range, and temperatures at a spot and in boxes. They are measured by the run in
// the raw counts of the very picture that is shown.

import { tellView } from "./controls.js";
import { $, fillSelect } from "./dom.js";
import { addTool, chooseTool } from "./drawing.js";
import { say } from "./link.js";
import { page, remember } from "./model.js";
import { addLayer, onPicture, paint, paintBox, paintLabel } from "./picture.js";

const ASK_MS = 90;
const MOST_REGIONS = 8;
const COLOR = "#ffffff";

let spot = null; // {point, pinned}
const regions = [];
let measured = null; // of the picture that is shown: {spot, regions}
let timer = null;
let celsius = null; // [degrees per count, degrees at count 0]

// ---------------------------------------------------------------- measuring

addTool("measure", {
  hint: "Point for a temperature, tap to keep the spot, drag a box for lowest, mean and highest. Esc: done.",
  drawn(box) {
    if (regions.length < MOST_REGIONS) regions.push(box);
    showProbes();
    ask();
  },
  tapped(point) {
    const again = spot?.pinned && Math.hypot(spot.point[0] - point[0], spot.point[1] - point[1]) < 8;
    spot = again ? null : { point, pinned: true };
    showProbes();
    ask();
  },
  over(point) {
    if (spot?.pinned) return;
    spot = point && { point, pinned: false };
    ask();
  },
  taken() {
    $("measure").setAttribute("aria-pressed", "true");
    $("screen").scrollIntoView({ block: "nearest" });
  },
  left() {
    $("measure").setAttribute("aria-pressed", "false");
    if (spot && !spot.pinned) {
      spot = null;
      ask();
    }
  },
});

$("measure").addEventListener("click", () => chooseTool(page.tool === "measure" ? "follow" : "measure"));

function ask(anew = false) {
  if (timer !== null) return;
  tellProbes(anew);
  timer = setTimeout(() => {
    timer = null;
    tellProbes(isStale()); // a picture may have come meanwhile
  }, ASK_MS);
}

let told = "";

export function tellProbes(anew = false) {
  if (!page.shown) return;
  const wanted = { spot: spot && spot.point.map((value) => Math.round(value * 10) / 10), regions };
  const text = JSON.stringify(wanted);
  if (text === told && !anew) return;
  told = text;
  say({ type: "measure", frame: page.shown.header.frame, ...wanted });
}

export function hearMeasured(message) {
  if (message.frame !== page.shown?.header.frame) return;
  measured = message.measured;
  paint();
  showValues(true);
}

onPicture((header) => {
  measured = header.measured;
  if (isStale()) ask(true);
  showValues();
});

// A picture may have been measured before the run heard of the newest places; a run that stands still sends no other.
function isStale() {
  if (celsius === null || (!spot && !regions.length)) return false;
  if (!measured || measured.regions.length !== regions.length) return true;
  const at = measured.spot_xy;
  return spot ? !at || Math.hypot(at[0] - spot.point[0], at[1] - spot.point[1]) > 0.2 : at !== null;
}

const degrees = (value) => (value === null || value === undefined ? "–" : `${value.toFixed(1)} °C`);

function regionText(region) {
  return region ? `${region.lowest.toFixed(1)} … ${region.highest.toFixed(1)} °C` : "–";
}

addLayer((pen, scale) => {
  const unit = devicePixelRatio;
  regions.forEach((box, number) => {
    const value = measured?.regions[number];
    const text = value ? `${value.mean.toFixed(1)} °C  (${regionText(value)})` : "–";
    paintBox(pen, box, scale, { color: COLOR, dashed: true, text });
  });
  if (!spot) return;
  const [x, y] = spot.point.map((value) => value * scale);
  for (const [shade, width] of [["rgb(0 0 0 / 70%)", 4], [COLOR, 1.5]]) {
    pen.strokeStyle = shade;
    pen.lineWidth = width * unit;
    pen.beginPath();
    pen.arc(x, y, 6 * unit, 0, 2 * Math.PI);
    pen.stroke();
  }
  const right = x + 100 * unit < page.shown.header.width * scale;
  paintLabel(pen, degrees(measured?.spot), [right ? x + 12 * unit : x - 90 * unit, Math.max(y - 26 * unit, 0)], COLOR);
});

function showProbes() {
  const rows = regions.map((_, number) => probeRow(`Box ${number + 1}`, () => regions.splice(number, 1)));
  if (spot?.pinned) rows.unshift(probeRow("Spot", () => (spot = null)));
  $("probes").replaceChildren(...rows);
  showValues(true);
}

function probeRow(name, remove) {
  const row = document.createElement("li");
  row.innerHTML = '<span class="name"></span><span class="what"></span><button type="button">✕</button>';
  row.querySelector(".name").textContent = name;
  const button = row.querySelector("button");
  button.setAttribute("aria-label", `Remove ${name}`);
  button.addEventListener("click", () => {
    remove();
    showProbes();
    ask();
    paint();
  });
  return row;
}

let shownAt = -Infinity;

function showValues(now = false) {
  const rows = [...$("probes").children];
  if (!rows.length || (!now && performance.now() - shownAt < 200)) return;
  shownAt = performance.now();
  if (spot?.pinned) rows.shift().querySelector(".what").textContent = degrees(measured?.spot);
  rows.forEach((row, number) => {
    const value = measured?.regions[number];
    row.querySelector(".what").textContent = value ? `${regionText(value)}, mean ${degrees(value.mean)}` : "–";
  });
}

// ---------------------------------------------------------------- colours and range

$("palette").addEventListener("change", () => {
  remember("palette", $("palette").value);
  tellView();
});

const fromCounts = (counts) => (celsius ? counts * celsius[0] + celsius[1] : counts);
const toCounts = (value) => (celsius ? Math.round(((value - celsius[1]) / celsius[0]) * 1000) / 1000 : value);

function changeDisplay(bounds = {}) {
  say({ type: "display", mode: $("range").value, polarity: $("polarity").value, ...bounds });
}
$("range").addEventListener("change", () => changeDisplay());
$("polarity").addEventListener("change", () => changeDisplay($("range").value === "fixed" ? bounds() : {}));
for (const id of ["low", "high"]) $(id).addEventListener("change", () => changeDisplay(bounds()));

function bounds() {
  const [low, high] = ["low", "high"].map((id) => ($(id).value === "" ? null : toCounts(Number($(id).value))));
  return { low, high };
}

export function showThermal({ thermal }) {
  celsius = thermal.celsius;
  const { display } = thermal;
  if (page.palette && !thermal.palettes.includes(page.palette)) {
    remember("palette", ""); // of another version of the page
    tellView();
  }
  fillSelect($("palette"), thermal.palettes, page.palette || thermal.palette);
  $("measure").hidden = $("probes").hidden = celsius === null;
  $("no-celsius").hidden = celsius !== null;
  for (const id of ["range", "polarity"]) $(id).disabled = !display;
  if (!display) return;
  $("range").disabled = !display.counts;
  const fixed = display.mode === "fixed";
  $("bounds").hidden = !fixed;
  for (const [id, value] of [["range", display.mode], ["polarity", display.polarity]]) {
    if (document.activeElement !== $(id)) $(id).value = value;
  }
  $("bounds").querySelectorAll(".unit").forEach((unit) => (unit.textContent = celsius ? "°C" : "counts"));
  for (const id of ["low", "high"]) {
    if (fixed && document.activeElement !== $(id)) $(id).value = fromCounts(display[id]).toFixed(celsius ? 1 : 0);
  }
}
