// The WebSocket to the run, opened again whenever it closes; where it does not get through, an ordinary image and
// polling stand in.

import { $, setState, toast, veil } from "./dom.js";
import { page } from "./model.js";

let socket = null;
let attempts = 0;
let opened = false;
let polling = null;

// `parts`: opened(), closed(), hear(message), picture(data, isCurrent)
export function connect(parts) {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const own = (socket = new WebSocket(`${scheme}//${location.host}/ws`));
  socket.binaryType = "arraybuffer";
  socket.onopen = () => {
    attempts = 0;
    opened = true;
    stopFallback();
    parts.opened();
  };
  socket.onmessage = ({ data }) => {
    if (typeof data === "string") parts.hear(JSON.parse(data));
    else parts.picture(data, () => own === socket);
  };
  socket.onclose = (event) => {
    parts.closed();
    const full = event.code === 1013;
    setState("lost", full ? "too many viewers" : "reconnecting");
    if (!polling) veil(full ? "Too many viewers. Trying again…" : "Connection lost. Trying again…");
    attempts += 1;
    if (!opened && attempts >= 3) startFallback(parts);
    setTimeout(() => connect(parts), Math.min(500 * 1.6 ** (attempts - 1), 5000));
  };
}

export const connected = () => socket?.readyState === WebSocket.OPEN;
export const fallingBack = () => polling !== null;

const ONLY_FOR_SOCKETS = new Set(["view", "hold", "measure"]);

export function say(message) {
  if (connected()) socket.send(JSON.stringify(message));
  else if (polling && !ONLY_FOR_SOCKETS.has(message.type)) post("/api/command", message);
}

// The answer's JSON, or null after saying what is wrong.
export async function post(path, message) {
  const answer = await fetch(path, { method: "POST", body: JSON.stringify(message) }).catch(() => null);
  if (answer === null) toast("The run does not answer.", true);
  else if (!answer.ok) toast((await answer.json().catch(() => ({ error: answer.statusText }))).error, true);
  else return answer.json();
  return null;
}

export function showFallback() {
  if (polling) $("fallback").src = `/stream.mjpg?view=${page.view}${page.palette ? `&palette=${page.palette}` : ""}`;
}

function startFallback(parts) {
  if (polling) return;
  polling = setInterval(async () => {
    const answer = await fetch("/api/status").catch(() => null);
    if (answer && answer.ok) parts.hear(await answer.json());
  }, 1000);
  showFallback();
  $("fallback").hidden = false;
  $("picture").hidden = true;
  $("veil").hidden = true;
}

function stopFallback() {
  if (!polling) return;
  clearInterval(polling);
  polling = null;
  $("fallback").hidden = true;
  $("fallback").removeAttribute("src");
  $("picture").hidden = false;
}
