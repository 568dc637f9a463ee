// Images that were ticked: kept while the page scrolls and searches, and exported together.

import { download, post } from "../page/api.js";
import { announce, byId, el, icon, plural, toast } from "../page/dom.js";

const tiles = new Map();
const listeners = new Set();

/** The most that one export takes. */
export const MOST = 10_000;

export const selection = {
  get size() { return tiles.size; },
  has: (key) => tiles.has(key),
  keys: () => [...tiles.keys()],

  /** Add or take away some tiles. */
  set(some, on) {
    for (const tile of some) {
      if (!tile) continue;
      if (!on) tiles.delete(tile.key);
      else if (tiles.size < MOST) tiles.set(tile.key, tile);
    }
    for (const listener of listeners) listener();
    announce(tiles.size ? `${plural(tiles.size, "image")} selected` : "Nothing selected");
  },

  toggle(tile) { selection.set([tile], !tiles.has(tile.key)); },
  clear() { selection.set([...tiles.values()], false); },

  subscribe(listener) {
    listeners.add(listener);
    return () => listeners.delete(listener);
  },
};

/** Put text that is still on its way on the clipboard; the permission belongs to the click, so the promise goes along. */
export async function copyText(promise, done) {
  try {
    if (globalThis.ClipboardItem) {
      const blob = promise.then((text) => new Blob([text], { type: "text/plain" }));
      await navigator.clipboard.write([new ClipboardItem({ "text/plain": blob })]);
    } else await navigator.clipboard.writeText(await promise);
    toast(done);
  } catch (error) {
    await promise.then(() => toast("The browser does not allow copying here.", { error: true }), (failed) => toast(failed.message, { error: true }));
  }
}

/** Copy the paths of the selected images, one a line. */
export function copyPaths() {
  const keys = selection.keys();
  if (!keys.length) return;
  const text = download("export", { keys, as: "paths" }).then((response) => response.text());
  return copyText(text, keys.length === 1 ? "Path copied" : `${plural(keys.length, "path")} copied`);
}

const NAMES = { paths: "imgsearch-paths.txt", csv: "imgsearch-images.csv", zip: "imgsearch-images.zip" };

/** Download the selected images, or a list of them, as "paths", "csv" or "zip". */
export async function exportAs(as) {
  const keys = selection.keys();
  if (as === "zip") toast(`Packing ${plural(keys.length, "image")}…`);
  try {
    const file = await (await download("export", { keys, as })).blob();
    const link = el("a", { href: URL.createObjectURL(file), download: NAMES[as], hidden: true });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  } catch (error) {
    toast(error.message, { error: true });
  }
}

/** Have the desktop "open" an image's file in its viewer, or "reveal" it in the file manager; then say so. */
export async function onDesktop(what, key, said) {
  try {
    await post(what, { key });
    toast(said);
  } catch (error) {
    toast(error.message, { error: true });
  }
}

/** Make the bar at the bottom of the page, which is there while something is selected. */
export function mountSelection() {
  const count = el("strong", { class: "selection-count" });
  const button = (label, run, name, hint) =>
    el("button", { class: "button", type: "button", title: hint, on: { click: run } }, name ? icon(name) : null, el("span", {}, label));
  const only = button("Show in folder", () => onDesktop("reveal", selection.keys()[0], "Shown in the file manager"), "folder", "Show the file in the file manager (r)");
  const bar = el("div", { class: "selection", role: "region", "aria-label": "Selection", hidden: true },
    count,
    button("Copy paths", copyPaths, "copy", "Copy the paths, one per line (c)"),
    button("Paths", () => exportAs("paths"), "download", "Download a text file of paths"),
    button("CSV", () => exportAs("csv"), "download", "Download a table of paths, dates, cameras and places"),
    button("ZIP", () => exportAs("zip"), "download", "Download copies of the files"),
    only,
    el("button", { class: "icon-button", type: "button", "aria-label": "Clear the selection", title: "Clear the selection (Esc)", on: { click: selection.clear } }, icon("close")));
  byId("selection").append(bar);
  selection.subscribe(() => {
    bar.hidden = !selection.size;
    document.body.classList.toggle("has-selection", selection.size > 0);
    count.textContent = `${selection.size.toLocaleString("en")} selected`;
    only.hidden = selection.size !== 1;
  });
}
