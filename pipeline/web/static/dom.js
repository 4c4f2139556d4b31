// What every part of the page does to the document.

export const $ = (id) => document.getElementById(id);

export function setState(state, text) {
  $("state").dataset.state = state;
  if ($("state").textContent !== text) $("state").textContent = text;
}

export function veil(text) {
  $("veil-text").textContent = text;
  $("veil").hidden = false;
}

export function toast(text, bad = false) {
  const note = document.createElement("div");
  note.className = bad ? "toast bad" : "toast";
  note.textContent = text;
  $("toasts").append(note);
  while ($("toasts").children.length > 4) $("toasts").firstChild.remove();
  setTimeout(() => note.remove(), bad ? 8000 : 4000);
}

// Fill a select anew only when its choices change, and never move it under the hand of a person.
export function fillSelect(select, names, chosen) {
  if (select.dataset.names !== names.join()) {
    select.dataset.names = names.join();
    select.replaceChildren(...names.map((name) => new Option(name, name)));
  }
  if (chosen && document.activeElement !== select) select.value = chosen;
}
