// The keyboard: one table of keys, what each does, and the map that `?` shows of it.

import { byId, el, icon } from "./dom.js";

const GROUPS = ["Search", "Images", "Selection", "Go to", "Help"];
const table = [];
let begun = null; // the first key of two ("g t") and when it was pressed

/**
 * Register a key: keys as in "x", "g t", "Shift+A", "Escape"; run(event) may return false: then the key goes on to
 * others. `shown` is what the map shows instead, `label` null leaves it out of the map; `modal` also works in dialogs.
 */
export function register({ keys, label, group, run, shown, modal = false }) {
  table.push({ keys: [keys].flat(), label, group, run, shown, modal });
}

const nameOf = (event) => (event.shiftKey && event.key.length > 1 ? `Shift+${event.key}` : event.key);

const typing = (target) => target.isContentEditable || ["TEXTAREA", "SELECT"].includes(target.tagName)
  || (target.tagName === "INPUT" && !["checkbox", "radio", "button"].includes(target.type));

function pressed(event) {
  if (event.defaultPrevented || event.isComposing || event.altKey || typing(event.target)) return;
  const name = nameOf(event), command = event.ctrlKey || event.metaKey;
  const sequence = begun && event.timeStamp - begun.at < 1200 ? `${begun.key} ${name}` : null;
  begun = null;
  const open = document.querySelector("dialog[open]");
  for (const wanted of sequence ? [sequence, name] : [command ? `Ctrl+${name}` : name]) {
    for (const { keys, run, modal } of table) {
      if (!keys.includes(wanted) || (open && !(modal && open.matches(".lightbox")))) continue;
      if (run(event) === false) continue;
      event.preventDefault();
      return;
    }
  }
  if (!command && table.some(({ keys }) => keys.some((one) => one.startsWith(`${name} `)))) begun = { key: name, at: event.timeStamp };
}

const SIGNS = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", Escape: "Esc", " ": "Space", PageUp: "PgUp", PageDown: "PgDn" };

function drawn(keys) {
  return keys.map((one, i) => [i ? " or " : null, one.split(/[ +]/).filter(Boolean).flatMap((key, j) => [j ? " " : null, el("kbd", {}, SIGNS[key] ?? key)])]);
}

/** Show the map of all keys. */
export function showMap() {
  if (byId("keymap")) return;
  const close = () => dialog.close();
  const dialog = el("dialog", { id: "keymap", class: "keymap", "aria-labelledby": "keymap-title", on: { close: () => dialog.remove(), click: (event) => event.target === dialog && close() } },
    el("div", { class: "dialog-head" }, el("h2", { id: "keymap-title" }, "Keyboard"),
      el("button", { class: "icon-button", type: "button", "aria-label": "Close", on: { click: close } }, icon("close"))),
    el("div", { class: "keymap-groups" }, GROUPS.map((group) => {
      const rows = table.filter((row) => row.group === group && row.label);
      return rows.length ? el("section", {}, el("h3", {}, group), el("dl", {},
        rows.map(({ keys, shown, label }) => el("div", {}, el("dt", {}, drawn(shown ?? keys)), el("dd", {}, label))))) : null;
    })));
  document.body.append(dialog);
  dialog.showModal();
}

/** Listen to the keyboard. */
export function start() {
  register({ keys: "?", label: "Show this map", group: "Help", run: showMap });
  document.addEventListener("keydown", pressed);
}
