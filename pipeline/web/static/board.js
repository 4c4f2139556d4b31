// What is going on beside the picture: facts, targets, sources, files.

import { feedCharts } from "./charts.js";
import { $, fillSelect, setState, veil } from "./dom.js";
import { connected, fallingBack, say } from "./link.js";
import { page } from "./model.js";
import { COLORS, onPicture } from "./picture.js";

// Numbers that change faster than they can be read only cost the picture its time.
const FACTS_MS = 200;
let factsAt = -Infinity;

onPicture(showPictureFacts);

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
  targets.forEach(({ score, state, celsius }, number) => {
    const row = list.children[number];
    row.querySelector(".dot").dataset.state = state;
    const warmth = celsius ? `, ${celsius.highest.toFixed(1)} °C` : "";
    row.querySelector(".what").textContent = `${state}, ${score.toFixed(2)}${warmth}`;
    const bar = row.querySelector("i");
    bar.style.transform = `scaleX(${Math.min(Math.max(score, 0), 1)})`;
    bar.style.background = COLORS[state];
  });
}

export function showStatus(message) {
  page.status = message;
  const { run, telemetry, sources } = message;
  const stalled = telemetry.idle_s !== null && telemetry.idle_s > 3;
  if (run.paused) setState("paused", "paused");
  else if (!telemetry.pairs) setState("connecting", "starting");
  else if (stalled) setState("stalled", "no pictures");
  else setState("live", run.live ? "live" : "running");
  if (!telemetry.pairs && !fallingBack()) veil("Waiting for the first picture…");
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
  const fusion = run.switching || run.fusion;
  for (const [select, names] of [["method", run.methods], ["pooling", run.poolings]]) {
    $(select).disabled = !fusion || names.length === 0;
    fillSelect($(select), names, fusion?.[select]);
  }
  $("switching").hidden = !run.switching && !telemetry.level;
  $("switching").textContent = run.switching ? "loading…" : `cheaper for now: level ${telemetry.level}`;
  showSources(sources);
  feedCharts(telemetry);
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

export async function loadFiles() {
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
setInterval(() => !document.hidden && connected() && loadFiles(), 10000);

function bytes(count) {
  if (count < 1000) return `${count} B`;
  for (const unit of ["kB", "MB", "GB"]) {
    count /= 1000;
    if (count < 999.5) return `${count.toFixed(count < 10 ? 1 : 0)} ${unit}`;
  }
  return `${(count / 1000).toFixed(1)} TB`;
}
