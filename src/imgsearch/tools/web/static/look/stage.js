// What stands in the page's content: one view at a time, with its grid, and the lightbox over it.

import { ACTIONS } from "./actions.js";
import { get } from "../page/api.js";
import { byId, el } from "../page/dom.js";
import { Grid } from "./grid.js";
import * as lightbox from "./lightbox.js";
import { Hits } from "./source.js";
import { change, current, format } from "../page/state.js";

let now = null; // {node, grid, source, end}
let opening = false;
let went = false; // by Back or Forward
let address = null;
let name = null; // of the view that comes
const scrolled = new Map(); // address → how far it was scrolled when it was left

history.scrollRestoration = "manual";
addEventListener("popstate", () => { went = true; });

/** The grid that is shown, or null. */
export const grid = () => now?.grid ?? null;

/** The next view that is put into the page has this name; the style sheet goes by it. */
export function expect(view) { name = view; }

const here = () => format({ ...current(), open: null, cut: null });

/** Put a view into the page: {node, grid, source, end}. The one before ends. */
export function put(view) {
  lightbox.close();
  if (now) {
    scrolled.set(address, scrollY);
    now.end?.();
    now.grid?.end();
    now.source?.close();
  }
  const back = went && address !== here();
  address = here();
  went = false;
  now = view;
  document.body.dataset.view = name;
  byId("content").classList.remove("is-busy");
  byId("content").replaceChildren(view.node);
  view.grid?.arrange();
  scrollTo({ top: back ? scrolled.get(address) ?? 0 : 0, behavior: "instant" });
  reopen();
  return view;
}

/** Put a grid of a source into the page, below `head` if there is one. */
export function putGrid(source, { head, foot, end, ...options }) {
  const shown = new Grid(source, { open: openAt, act: (name, tile) => ACTIONS[name](tile), ...options });
  return put({ node: el("div", { class: options.kind }, head, shown.root, foot), grid: shown, source, end });
}

/** Put a line of text where images would be, with something to do about it. */
export function putNotice(title, ...rest) {
  put({ node: el("div", { class: "notice is-large" }, el("strong", {}, title), ...rest) });
}

/** Open the lightbox at a position of what is shown. */
export function openAt(index) {
  const { source, grid: under } = now, tile = source.at(index);
  if (!tile) return;
  opening = true;
  change({ open: tile.key });
  opening = false;
  lightbox.open(source, index, { pushed: true, closed: (last) => under.focus(last) });
}

/** Follow the address: open the image that it names, close one that it no longer names. */
export function follow() {
  const { open } = current();
  if (opening) return;
  if (!open) lightbox.close();
  else if (lightbox.shown()?.key !== open && address === here()) reopen(); // else the view that comes does
}

/** After a reload the address may name an image: among those that are shown if it is there, else alone. */
async function reopen() {
  const key = current().open;
  if (!key || lightbox.shown()?.key === key || !now) return;
  const { source, grid: under } = now;
  await source?.first;
  const index = source?.indexOf(key) ?? -1;
  if (current().open !== key || now.source !== source) return;
  if (index >= 0) return lightbox.open(source, index, { closed: (last) => under.focus(last) });
  try {
    const image = await get(`image/${encodeURIComponent(key)}`);
    if (current().open === key) lightbox.open(new Hits([{ stack: [], copies: 0, page: 0, ...image, key }], false), 0, {});
  } catch {
    change({ open: null }, { replace: true });
  }
}
