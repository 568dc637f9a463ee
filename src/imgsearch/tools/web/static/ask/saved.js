// Saved queries, offered in the box behind an @.

import { get } from "../page/api.js";
import { byId, el } from "../page/dom.js";

const NAMED = /(^|\s)@([^\s@]*)$/u;

let names = null;
let offered = [];
let chosen = -1;
let box;
let list;

/** Start offering them. */
export function start() {
  box = byId("q");
  list = byId("suggestions");
  box.addEventListener("input", offer);
  box.addEventListener("blur", hide);
  box.addEventListener("keydown", press);
  list.addEventListener("pointerdown", (event) => event.preventDefault()); // the box keeps the focus
}

async function offer() {
  const found = NAMED.exec(box.value.slice(0, box.selectionStart));
  if (!found) return hide();
  names ??= get("saved").then((answer) => answer.saved);
  let saved;
  try {
    saved = await names;
  } catch {
    names = null;
    return;
  }
  const begun = NAMED.exec(box.value.slice(0, box.selectionStart));
  if (!begun || document.activeElement !== box) return hide();
  const prefix = begun[2].toLowerCase();
  offered = saved.filter(({ name }) => name.toLowerCase().startsWith(prefix) && name.toLowerCase() !== prefix);
  if (!offered.length) return hide();
  chosen = -1;
  list.replaceChildren(
    ...offered.map(({ name, words }, at) =>
      el(
        "li",
        { role: "option", id: `saved-${at}`, "aria-selected": "false", on: { click: () => take(at) } },
        el("span", { text: `@${name}` }),
        el("span", { class: "words", text: Array.isArray(words) ? words.join(" ") : words }),
      ),
    ),
  );
  list.hidden = false;
  box.setAttribute("aria-expanded", "true");
  box.removeAttribute("aria-activedescendant");
}

function hide() {
  list.hidden = true;
  box.setAttribute("aria-expanded", "false");
  box.removeAttribute("aria-activedescendant");
}

function choose(at) {
  chosen = (at + offered.length) % offered.length;
  [...list.children].forEach((row, index) => row.setAttribute("aria-selected", String(index === chosen)));
  list.children[chosen].scrollIntoView({ block: "nearest" });
  box.setAttribute("aria-activedescendant", `saved-${chosen}`);
}

function take(at) {
  const end = box.selectionStart;
  const before = box.value.slice(0, end).replace(NAMED, `$1@${offered[at].name}`);
  box.value = before + box.value.slice(end);
  box.setSelectionRange(before.length, before.length);
  hide();
  box.dispatchEvent(new Event("input", { bubbles: true }));
}

function press(event) {
  if (list.hidden) return;
  if (event.key === "ArrowDown") choose(chosen + 1);
  else if (event.key === "ArrowUp") choose(chosen < 0 ? offered.length - 1 : chosen - 1);
  else if (event.key === "Escape") hide();
  else if ((event.key === "Enter" || event.key === "Tab") && (chosen >= 0 || event.key === "Tab")) take(Math.max(chosen, 0));
  else return;
  event.preventDefault();
}
