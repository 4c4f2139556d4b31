"use strict";
// The live page. Pictures come over a WebSocket with a credit of two; boxes are drawn here, on top of the picture,
// so they stay sharp at any size. While a box is being drawn the picture stands still, and the number of that very
// frame goes with the box.

const $ = (id) => document.getElementById(id);
const canvas = $("picture");
const context = canvas.getContext("2d", { alpha: false });
const COLORS = { tracking: "#5ede7c", uncertain: "#ffc24a", lost: "#ff6b6b" };
const KEYS_TO_VIEW = { 1: "fused", 2: "visible", 3: "thermal", 4: "side", 5: "tint" };
const CLICK_PX = 5;

let socket = null;
let attempts = 0;
let opened = false;
let version = null;
let status = null;
let view = localStorage.getItem("view") || "fused";
let shown = null; // {header, bitmap}: what is on the canvas
let drawing = null; // {start, end, panel, frame, keyboard}: the box being drawn, in pixels of the picture
let waiting = []; // serials of pictures that came while the page was hidden
let removing = false; // X was pressed; a digit follows
let polling = null;

// ---------------------------------------------------------------- connection

function connect() {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  socket = new WebSocket(`${scheme}//${location.host}/ws`);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => {
    attempts = 0;
    opened = true;
    stopFallback();
    say({ type: "view", view });
  };
  socket.onmessage = ({ data }) => (typeof data === "string" ? hear(JSON.parse(data)) : receivePicture(data));
  socket.onclose = (event) => {
    waiting = [];
    endDrawing();
    setState("lost", event.code === 1013 ? "too many viewers" : "reconnecting");
    veil(event.code === 1013 ? "Too many viewers. Trying again…" : "Connection lost. Trying again…");
    attempts += 1;
    if (!opened && attempts >= 3) startFallback();
    setTimeout(connect, Math.min(500 * 1.6 ** (attempts - 1), 5000));
  };
}

function say(message) {
  if (socket && socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
  else if (polling && message.type !== "view") post(message);
}

async function post(message) {
  const answer = await fetch("/api/command", { method: "POST", body: JSON.stringify(message) });
  if (!answer.ok) toast((await answer.json()).error, true);
}

function hear(message) {
  if (message.type === "hello") {
    // A newer server brings a newer page.
    if (version !== null && version !== message.version) location.reload();
    version = message.version;
    shown = null;
    clearCharts();
    loadFiles();
  } else if (message.type === "status") showStatus(message);
  else if (message.type === "event") {
    toast(message.text, message.kind === "refused" || message.kind === "warning");
    if (message.kind === "saved" || message.kind === "recording") setTimeout(loadFiles, 300);
  }
}

// Where WebSockets do not get through, an ordinary image and polling do.
function startFallback() {
  if (polling) return;
  $("fallback").src = `/stream.mjpg?view=${view}`;
  $("fallback").hidden = false;
  canvas.hidden = true;
  $("veil").hidden = true;
  polling = setInterval(async () => {
    const answer = await fetch("/api/status").catch(() => null);
    if (answer && answer.ok) showStatus(await answer.json());
  }, 1000);
}

function stopFallback() {
  if (!polling) return;
  clearInterval(polling);
  polling = null;
  $("fallback").hidden = true;
  $("fallback").removeAttribute("src");
  canvas.hidden = false;
}

// ---------------------------------------------------------------- pictures

async function receivePicture(data) {
  const length = new DataView(data).getUint32(0);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
  if (drawing) {
    say({ type: "skipped", serial: header.serial });
    return;
  }
  if (document.hidden) {
    waiting.push(header.serial); // unconfirmed, so the server stops after two
    return;
  }
  const from = socket;
  const bitmap = await createImageBitmap(new Blob([new Uint8Array(data, 4 + length)], { type: "image/jpeg" }));
  if (from !== socket) return;
  if (drawing) {
    bitmap.close();
    say({ type: "skipped", serial: header.serial });
    return;
  }
  const old = shown;
  shown = { header, bitmap };
  if (!old || shape(old.header) !== shape(header)) fit();
  paint();
  old?.bitmap.close();
  say({ type: "shown", serial: header.serial });
  $("veil").hidden = true;
  showPictureFacts(header);
}

// Numbers that change faster than they can be read only cost the picture its time.
const FACTS_MS = 200;
let factsAt = -Infinity;

const shape = (header) => `${header.width * header.panels}x${header.height}`;

document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  for (const serial of waiting) say({ type: "skipped", serial });
  waiting = [];
});

function fit() {
  if (!shown) return;
  const { width, height, panels } = shown.header;
  const screen = $("screen");
  const narrow = matchMedia("(max-width: 640px)").matches;
  const room = Math.max(innerHeight - (narrow ? 250 : 252), 200);
  const scale = Math.min(screen.clientWidth / (width * panels), room / height);
  canvas.style.width = `${Math.floor(width * panels * scale)}px`;
  canvas.style.height = `${Math.floor(height * scale)}px`;
  canvas.width = Math.round(canvas.clientWidth * devicePixelRatio);
  canvas.height = Math.round(canvas.clientHeight * devicePixelRatio);
  paint();
}
new ResizeObserver(fit).observe($("screen"));
addEventListener("resize", fit);

function paint() {
  if (!shown) return;
  const { header, bitmap } = shown;
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const scale = canvas.width / (header.width * header.panels);
  for (let panel = 0; panel < header.panels; panel += 1) {
    context.save();
    context.beginPath();
    context.rect(panel * header.width * scale, 0, header.width * scale, canvas.height);
    context.clip();
    context.translate(panel * header.width * scale, 0);
    for (const target of header.targets) paintTarget(target, scale);
    context.restore();
  }
  if (drawing) paintDrawing(scale);
}

function paintTarget({ id, box, score, state }, scale) {
  const [x, y, w, h] = box.map((value) => value * scale);
  const unit = devicePixelRatio;
  const color = COLORS[state] || COLORS.lost;
  context.lineJoin = "round";
  context.setLineDash(state === "lost" ? [6 * unit, 5 * unit] : []);
  context.strokeStyle = "rgb(0 0 0 / 65%)";
  context.lineWidth = 4 * unit;
  context.strokeRect(x, y, w, h);
  context.strokeStyle = color;
  context.lineWidth = 2 * unit;
  context.strokeRect(x, y, w, h);
  context.setLineDash([]);
  const text = state === "lost" ? `${id} lost` : `${id}  ${score.toFixed(2)}`;
  context.font = `600 ${13 * unit}px system-ui, sans-serif`;
  const width = context.measureText(text).width + 12 * unit;
  const height = 20 * unit;
  const top = y >= height + 3 * unit ? y - height - 3 * unit : y + h + 3 * unit;
  context.fillStyle = "rgb(8 11 16 / 82%)";
  context.beginPath();
  context.roundRect(x - unit, top, width, height, 4 * unit);
  context.fill();
  context.fillStyle = color;
  context.textBaseline = "middle";
  context.fillText(text, x + 5 * unit, top + height / 2 + unit / 2);
}

function paintDrawing(scale) {
  const [x, y, w, h] = drawnBox().map((value) => value * scale);
  const left = x + drawing.panel * shown.header.width * scale;
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

// ---------------------------------------------------------------- drawing boxes

function pointOf(event) {
  const place = canvas.getBoundingClientRect();
  const { width, height, panels } = shown.header;
  return [
    ((event.clientX - place.left) / place.width) * width * panels,
    ((event.clientY - place.top) / place.height) * height,
  ];
}

function intoPanel([x, y], panel) {
  const { width, height } = shown.header;
  return [Math.min(Math.max(x - panel * width, 0), width), Math.min(Math.max(y, 0), height)];
}

function drawnBox() {
  const [[x1, y1], [x2, y2]] = [drawing.start, drawing.end];
  return [Math.min(x1, x2), Math.min(y1, y2), Math.abs(x2 - x1), Math.abs(y2 - y1)];
}

function targetAt([x, y]) {
  const inside = shown.header.targets.filter(({ box: [left, top, w, h] }) => {
    return x >= left && x <= left + w && y >= top && y <= top + h;
  });
  inside.sort((a, b) => a.box[2] * a.box[3] - b.box[2] * b.box[3]);
  return inside[0];
}

function beginDrawing(start, end, panel, keyboard) {
  drawing = { start, end, panel, keyboard, frame: shown.header.frame };
  say({ type: "hold", frame: drawing.frame });
}

function endDrawing() {
  if (!drawing) return;
  drawing = null;
  $("add").setAttribute("aria-pressed", "false");
  $("hint").textContent = HINT;
  say({ type: "hold", frame: null });
  paint();
}
const HINT = $("hint").textContent;

function addDrawn() {
  const box = drawnBox().map((value) => Math.round(value * 100) / 100);
  say({ type: "add", frame: drawing.frame, box });
  endDrawing();
}

canvas.addEventListener("pointerdown", (event) => {
  if (!shown || event.button !== 0) return;
  if (drawing) endDrawing();
  const point = pointOf(event);
  const panel = Math.min(Math.floor(point[0] / shown.header.width), shown.header.panels - 1);
  const start = intoPanel(point, panel);
  canvas.setPointerCapture(event.pointerId);
  beginDrawing(start, start, panel, false);
  drawing.origin = [event.clientX, event.clientY];
});

canvas.addEventListener("pointermove", (event) => {
  if (!shown) return;
  if (drawing && !drawing.keyboard) {
    drawing.end = intoPanel(pointOf(event), drawing.panel);
    paint();
  } else if (!drawing) {
    const point = pointOf(event);
    const over = targetAt([point[0] % shown.header.width, point[1]]);
    canvas.dataset.over = over ? "target" : "";
    canvas.title = over ? `Let target ${over.id} go` : "";
  }
});

canvas.addEventListener("pointerup", (event) => {
  if (!drawing || drawing.keyboard) return;
  drawing.end = intoPanel(pointOf(event), drawing.panel);
  const moved = Math.hypot(event.clientX - drawing.origin[0], event.clientY - drawing.origin[1]);
  if (moved > CLICK_PX) {
    const [, , w, h] = drawnBox();
    if (w >= 2 && h >= 2) addDrawn();
    else endDrawing();
    return;
  }
  const target = targetAt(drawing.start);
  endDrawing();
  if (target) say({ type: "remove", target: target.id });
});

canvas.addEventListener("pointercancel", endDrawing);

$("add").addEventListener("click", () => {
  if (!shown) return;
  if (drawing) {
    endDrawing();
    return;
  }
  const { width, height } = shown.header;
  beginDrawing([width * 0.4, height * 0.4], [width * 0.6, height * 0.6], 0, true);
  $("add").setAttribute("aria-pressed", "true");
  $("hint").textContent = "Arrows move the box, Shift + arrows size it, Enter follows, Esc drops it.";
  canvas.focus();
  paint();
});

function keyWhileDrawing(event) {
  const { width, height } = shown.header;
  const step = event.altKey ? 1 : Math.max(Math.round(width / 80), 2);
  const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
  const move = moves[event.key];
  if (event.key === "Enter") addDrawn();
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

// ---------------------------------------------------------------- controls

function chooseView(name) {
  view = name;
  localStorage.setItem("view", name);
  for (const button of $("views").children) {
    const chosen = button.dataset.view === name;
    button.setAttribute("aria-checked", chosen);
    button.tabIndex = chosen ? 0 : -1;
  }
  if (drawing) endDrawing();
  if (polling) $("fallback").src = `/stream.mjpg?view=${name}`;
  say({ type: "view", view: name });
}

$("views").addEventListener("click", (event) => {
  const button = event.target.closest("[data-view]");
  if (button) chooseView(button.dataset.view);
});
$("views").addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (!step) return;
  const buttons = [...$("views").children];
  const next = buttons[(buttons.findIndex((b) => b.dataset.view === view) + step + buttons.length) % buttons.length];
  chooseView(next.dataset.view);
  next.focus();
  event.preventDefault();
});

const actions = {
  pause: () => say({ type: "pause", on: !(status && status.run.paused) }),
  record: () => !$("record").disabled && say({ type: "record", on: !status.run.recording }),
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
  if (drawing) {
    keyWhileDrawing(event);
    return;
  }
  const within = event.target.closest("select, input, button, a");
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (removing) {
    removing = false;
    $("hint").textContent = HINT;
    if (/^[1-9]$/.test(key)) say({ type: "remove", target: Number(key) });
  } else if (within && within.tagName !== "BUTTON") return;
  else if (KEYS_TO_VIEW[key]) chooseView(KEYS_TO_VIEW[key]);
  else if (key === " " && !within) actions.pause();
  else if (key === "r") actions.record();
  else if (key === "s") actions.snapshot();
  else if (key === "n") $("add").click();
  else if (key === "?") $("help").showModal();
  else if (key === "x") {
    removing = true;
    $("hint").textContent = "Let which target go? Press its number.";
  } else return;
  event.preventDefault();
});

// ---------------------------------------------------------------- what is going on

function setState(state, text) {
  $("state").dataset.state = state;
  if ($("state").textContent !== text) $("state").textContent = text;
}

function veil(text) {
  $("veil-text").textContent = text;
  $("veil").hidden = Boolean(polling);
}

function toast(text, bad = false) {
  const note = document.createElement("div");
  note.className = bad ? "toast bad" : "toast";
  note.textContent = text;
  $("toasts").append(note);
  while ($("toasts").children.length > 4) $("toasts").firstChild.remove();
  setTimeout(() => note.remove(), bad ? 8000 : 4000);
}

function showPictureFacts(header) {
  if (performance.now() - factsAt < FACTS_MS) return;
  factsAt = performance.now();
  const parts = [`frame ${header.frame}`, `${header.since_s.toFixed(2)} s`, `${header.width} × ${header.height}`];
  if (header.missing) parts.push(`no ${header.missing} picture`);
  else if (header.status !== "paired") parts.push(header.status);
  else parts.push(`skew ${Math.abs(header.dt_ms).toFixed(1)} ms`);
  $("where").textContent = parts.join("  ·  ");
  showTargets(header.targets);
}

function showTargets(targets) {
  const list = $("targets");
  const ids = targets.map((target) => target.id).join();
  $("target-count").textContent = targets.length;
  $("no-targets").hidden = targets.length > 0;
  if (list.dataset.ids !== ids) {
    list.dataset.ids = ids;
    list.replaceChildren(
      ...targets.map(({ id }) => {
        const row = document.createElement("li");
        row.innerHTML = '<span class="dot"></span><span class="name"></span><span class="what"></span>' +
          '<span class="score" aria-hidden="true"><i></i></span><button type="button">✕</button>';
        row.querySelector(".name").textContent = id;
        row.querySelector("button").setAttribute("aria-label", `Let target ${id} go`);
        row.querySelector("button").addEventListener("click", () => say({ type: "remove", target: id }));
        return row;
      }),
    );
  }
  targets.forEach(({ score, state }, number) => {
    const row = list.children[number];
    row.querySelector(".dot").dataset.state = state;
    row.querySelector(".what").textContent = `${state}, ${score.toFixed(2)}`;
    const bar = row.querySelector("i");
    bar.style.transform = `scaleX(${Math.min(Math.max(score, 0), 1)})`;
    bar.style.background = COLORS[state];
  });
}

function showStatus(message) {
  status = message;
  const { run, telemetry, sources } = message;
  const stalled = telemetry.idle_s !== null && telemetry.idle_s > 3;
  if (run.paused) setState("paused", "paused");
  else if (!telemetry.pairs) setState("connecting", "starting");
  else if (stalled) setState("stalled", "no pictures");
  else setState("live", run.live ? "live" : "running");
  if (!telemetry.pairs) veil("Waiting for the first picture…");
  $("run-title").textContent = run.title;
  document.title = run.title ? `${run.title} – rgbt-stream` : "rgbt-stream";
  $("now-fps").textContent = run.paused ? "0.0" : telemetry.fps.toFixed(1);
  const age = telemetry.age_ms;
  $("now-age").textContent = age ? `${age.p50.toFixed(0)} / ${age.p95.toFixed(0)}` : "–";
  $("now-dropped").textContent = telemetry.counters.dropped;
  $("now-viewers").textContent = message.viewers;
  $("pause").setAttribute("aria-pressed", run.paused);
  $("pause").querySelector("span").textContent = run.paused ? "Go on" : "Pause";
  $("record").disabled = run.recording === null;
  $("record").setAttribute("aria-pressed", run.recording === true);
  $("record").querySelector("span").textContent = run.recording ? "Recording" : "Record";
  $("add").disabled = run.tracker === null;
  options($("method"), run.methods, run.switching || run.fusion, "method");
  options($("pooling"), run.poolings, run.switching || run.fusion, "pooling");
  $("switching").hidden = !run.switching;
  showSources(sources);
  feedCharts(telemetry);
}

function options(select, names, choice, field) {
  select.disabled = !choice || names.length === 0;
  if (select.dataset.names !== names.join()) {
    select.dataset.names = names.join();
    select.replaceChildren(...names.map((name) => new Option(name, name)));
  }
  if (choice && document.activeElement !== select) select.value = choice[field];
}

function showSources(sources) {
  $("no-sources").hidden = sources.length > 0;
  while ($("sources").children.length > sources.length) $("sources").lastChild.remove();
  sources.forEach((source, number) => {
    let row = $("sources").children[number];
    if (!row) {
      row = document.createElement("li");
      row.innerHTML = '<span class="dot"></span><span class="name"></span><span class="numbers"></span>' +
        '<span class="detail"></span>';
      $("sources").append(row);
    }
    row.querySelector(".dot").dataset.state = source.state;
    row.querySelector(".name").textContent = `${source.role}: ${source.state}`;
    row.querySelector(".numbers").textContent = source.fps === null ? "" : `${source.fps.toFixed(1)} fps`;
    const detail = [source.name];
    if (source.size_wh) detail.push(`${source.size_wh[0]} × ${source.size_wh[1]}`);
    if (source.reconnects) detail.push(`${source.reconnects} reconnects`);
    if (source.suspect) detail.push(`${source.suspect} damaged`);
    row.querySelector(".detail").textContent = detail.join("  ·  ");
  });
}

async function loadFiles() {
  const answer = await fetch("/api/recordings").catch(() => null);
  if (!answer || !answer.ok) return;
  const files = await answer.json();
  $("no-files").hidden = files.length > 0;
  $("files").replaceChildren(
    ...files.map((file) => {
      const row = document.createElement("li");
      const link = document.createElement("a");
      link.href = `/recordings/${encodeURIComponent(file.name)}`;
      link.download = file.name;
      const name = document.createElement("span");
      name.textContent = file.name;
      const size = document.createElement("span");
      size.textContent = bytes(file.size_bytes);
      link.append(name, size);
      row.append(link);
      return row;
    }),
  );
}
setInterval(() => !document.hidden && socket?.readyState === WebSocket.OPEN && loadFiles(), 10000);

function bytes(count) {
  if (count < 1000) return `${count} B`;
  for (const unit of ["kB", "MB", "GB"]) {
    count /= 1000;
    if (count < 999.5) return `${count.toFixed(count < 10 ? 1 : 0)} ${unit}`;
  }
  return `${(count / 1000).toFixed(1)} TB`;
}

// ---------------------------------------------------------------- charts

const POINTS = 120;
const PALETTE = ["#4cc3f0", "#ff8a3d", "#5ede7c", "#d58bff", "#ffc24a", "#ff7fa8", "#8fa3ff"];
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

function clearCharts() {
  lastDrop = null;
  for (const chart of Object.values(charts)) chart.lines.clear();
}

function feedCharts(telemetry) {
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
    pen.strokeStyle = PALETTE[number % PALETTE.length];
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
      item.firstChild.style.background = PALETTE[number % PALETTE.length];
      key.append(item);
    }
    item.lastChild.textContent = `${name} ${rounded(value)}`;
  });
}

function niceCeiling(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].find((step) => step * power >= value) * power;
}

chooseView(KEYS_TO_VIEW[Object.values(KEYS_TO_VIEW).indexOf(view) + 1] || "fused");
connect();
