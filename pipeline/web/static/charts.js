// Charts of the last minute, drawn from the status that comes twice a second.

import { $ } from "./dom.js";

const POINTS = 120;
const LINE_COLORS = ["#4cc3f0", "#ff8a3d", "#5ede7c", "#d58bff", "#ffc24a", "#ff7fa8", "#8fa3ff"];
const charts = {
  fps: makeChart("Pairs a second", "", 10),
  stages: makeChart("Median latency by stage, ms", "ms", 10),
  skew: makeChart("Skew within a pair, ms", "ms", 10),
  drops: makeChart("Dropped pairs a second", "", 1),
};
let lastDrop = null;

function makeChart(title, unit, least) {
  const figure = document.createElement("figure");
  figure.className = "chart";
  figure.innerHTML = "<figcaption><span></span><strong></strong></figcaption><canvas></canvas><div class=key></div>";
  figure.querySelector("span").textContent = title;
  figure.querySelector("canvas").setAttribute("role", "img");
  $("charts").append(figure);
  return { figure, title, unit, least, lines: new Map() };
}

export function clearCharts() {
  lastDrop = null;
  for (const chart of Object.values(charts)) chart.lines.clear();
}

export function feedCharts(telemetry) {
  feed(charts.fps, { now: telemetry.fps });
  const stages = Object.entries(telemetry.stages_ms);
  feed(charts.stages, Object.fromEntries(stages.map(([name, values]) => [name, values.p50])));
  if (telemetry.skew_ms) feed(charts.skew, { median: telemetry.skew_ms.p50, "95 %": telemetry.skew_ms.p95 });
  const dropped = telemetry.counters.dropped;
  const moment = telemetry.uptime_s;
  if (lastDrop && moment > lastDrop[1]) {
    feed(charts.drops, { now: Math.max(dropped - lastDrop[0], 0) / (moment - lastDrop[1]) });
  }
  lastDrop = [dropped, moment];
  for (const chart of Object.values(charts)) paintChart(chart);
}

function feed(chart, values) {
  for (const [name, value] of Object.entries(values)) {
    if (!chart.lines.has(name)) chart.lines.set(name, []);
    const line = chart.lines.get(name);
    line.push(value);
    if (line.length > POINTS) line.shift();
  }
}

const rounded = (value) => (value >= 100 ? value.toFixed(0) : value.toFixed(1));

function paintChart({ figure, title, unit, least, lines }) {
  const target = figure.querySelector("canvas");
  const width = (target.width = Math.round(target.clientWidth * devicePixelRatio));
  const height = (target.height = Math.round(target.clientHeight * devicePixelRatio));
  if (!width) return;
  const pen = target.getContext("2d");
  const most = Math.max(least, ...[...lines.values()].flat());
  const top = niceCeiling(most);
  pen.strokeStyle = "#2a3442";
  pen.lineWidth = devicePixelRatio;
  for (const share of [0, 0.5, 1]) {
    const y = height - 1 - share * (height - 2);
    pen.beginPath();
    pen.moveTo(0, y);
    pen.lineTo(width, y);
    pen.stroke();
  }
  [...lines.values()].forEach((line, number) => {
    pen.strokeStyle = LINE_COLORS[number % LINE_COLORS.length];
    pen.lineWidth = 1.75 * devicePixelRatio;
    pen.lineJoin = "round";
    pen.beginPath();
    line.forEach((value, place) => {
      const x = width * (1 - (line.length - 1 - place) / (POINTS - 1));
      pen.lineTo(x, height - 1 - (value / top) * (height - 4));
    });
    pen.stroke();
  });
  pen.fillStyle = "#9aa7b8";
  pen.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
  pen.textBaseline = "top";
  pen.fillText(rounded(top), 2 * devicePixelRatio, 3 * devicePixelRatio);
  const newest = [...lines].map(([name, line]) => [name, line.at(-1)]);
  const several = newest.length > 1;
  const total = newest.length ? newest[0][1] : null;
  figure.querySelector("strong").textContent = several || total === null ? "" : rounded(total);
  target.setAttribute("aria-label", `${title}: ${newest.map(([n, v]) => `${n} ${rounded(v)}`).join(", ")} ${unit}`);
  const key = figure.querySelector(".key");
  key.hidden = !several;
  while (key.children.length > newest.length) key.lastChild.remove();
  newest.forEach(([name, value], number) => {
    let item = key.children[number];
    if (!item) {
      item = document.createElement("span");
      item.append(document.createElement("i"), document.createTextNode(""));
      item.firstChild.style.background = LINE_COLORS[number % LINE_COLORS.length];
      key.append(item);
    }
    item.lastChild.textContent = `${name} ${rounded(value)}`;
  });
}

function niceCeiling(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].find((step) => step * power >= value) * power;
}
