// One image in a grid: its thumbnail, name, score, and what there is to say of it.

import { thumb } from "../page/api.js";
import { el, icon, plural } from "../page/dom.js";
import { selection } from "./selection.js";
import { current, format } from "../page/state.js";

const MONTH = new Intl.DateTimeFormat("en", { month: "long", year: "numeric" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "long", year: "numeric" });

/** "2023-07-01T12:00:00" as a date of no time zone. */
const date = (taken) => {
  const [year, month, day] = taken.slice(0, 10).split("-").map(Number);
  return new Date(year, (month || 1) - 1, day || 1);
};

/** "2023-07-01T12:00:00" → "1 July 2023". */
export const dayOf = (taken) => DAY.format(date(taken));

/** "2023-07" → "July 2023"; null → "No date". */
export const monthOf = (month) => (month ? MONTH.format(date(`${month}-01`)) : "No date");

/** Its name, and where in the file it is: report.pdf · page 7, clip.mov · 1:23. */
export const named = (tile) => (tile.where ? `${tile.name} · ${tile.where}` : tile.name);

/** A quote with the words that were found marked: every second of its parts. */
export const quoted = (tile) => tile.quote_parts?.map((part, i) => (i % 2 ? el("mark", {}, part) : part)) ?? tile.quote;

/** What a screen reader says of an image. */
export function describe(tile) {
  return [
    named(tile),
    tile.score === undefined ? null : `score ${tile.score.toFixed(2)}`,
    tile.stands_out ? "stands out" : null,
    tile.taken ? dayOf(tile.taken) : null,
    tile.reason ? tile.reason : null,
    tile.quote ? `text: ${tile.quote}` : null,
    tile.stack?.length ? `${plural(tile.stack.length, "similar image")} behind it` : null,
    tile.copies ? (tile.copies === 1 ? "1 copy" : `${tile.copies} copies`) : null,
    tile.missing ? "missing now" : null,
  ].filter(Boolean).join(", ");
}

/** The address of an image's lightbox over what the page shows now. */
export const hrefOf = (tile) => format({ ...current(), open: tile.key }) || "?";

// Copied for each tile: a window of images is there sooner than if each of its nodes were made one by one.
const EMPTY = el("div", { class: "tile", role: "gridcell" }, el("a", { class: "tile-link", tabindex: "-1", "aria-label": "Loading" }));
const IMAGE = el("img", { decoding: "async", draggable: "false" });
const CHECK = el("button", { class: "tile-check", type: "button", role: "checkbox", tabindex: "-1" }, icon("check"));

/** The node of the image at a position, empty until `fill` gets its tile. */
export class Tile {
  constructor(index) {
    this.index = index;
    this.node = EMPTY.cloneNode(true);
    this.link = this.node.firstChild;
    this.node.tile = this;
  }

  /** Show a tile; `scale` {floor, top} makes a bar of its score, `load` says whether to fetch the thumbnail now. */
  fill(tile, { scale, load, opened }) {
    if (this.tile !== tile || this.opened !== opened) this.draw(tile, scale, opened);
    if (load && this.image && !this.image.src) this.fetch(tile);
  }

  draw(tile, scale, opened) {
    const before = this.tile;
    Object.assign(this, { tile, scale, opened, caption: null });
    this.link.href = hrefOf(tile);
    this.link.setAttribute("aria-label", describe(tile));
    if (before?.key !== tile.key) {
      this.image = IMAGE.cloneNode();
      Object.assign(this.image, { alt: named(tile), width: tile.width || 4, height: tile.height || 3 });
    }
    this.link.replaceChildren(this.image, ...this.badges(tile));
    this.check ??= CHECK.cloneNode(true);
    this.check.setAttribute("aria-label", `Select ${named(tile)}`);
    this.stack = tile.stack?.length
      ? el("button", { class: "tile-stack", type: "button", tabindex: "-1", "aria-expanded": String(opened), title: "Show the similar images behind it (e)",
        "aria-label": `${plural(tile.stack.length, "similar image")} behind ${named(tile)}` }, icon("stack"), String(tile.stack.length + 1))
      : null;
    this.node.replaceChildren(...[this.link, this.check, this.stack].filter(Boolean));
    if (this.node.classList.contains("is-broken")) this.tell();
    this.node.classList.toggle("is-member", Boolean(tile.member));
    this.node.classList.toggle("is-open", opened);
    this.mark();
  }

  /** Make the caption (name and score). It shows on hover, and where there is no thumbnail. */
  tell() {
    if (!this.tile || this.caption) return;
    const { tile, scale } = this;
    const score = tile.score === undefined ? null : el("span", { class: "tile-score" }, tile.score.toFixed(2));
    const share = score && scale ? Math.min(1, Math.max(0.02, (tile.score - scale.floor) / (scale.top - scale.floor || 1))) : 0;
    this.caption = el("span", { class: "tile-caption", "aria-hidden": "true" }, el("span", { class: "tile-name" }, tile.name), tile.where ? el("span", { class: "tile-place" }, `· ${tile.where}`) : null, score,
      share ? el("span", { class: "tile-bar", style: { "--share": share } }) : null);
    this.link.append(this.caption);
  }

  badges(tile) {
    const badge = (kind, ...text) => el("span", { class: `tile-badge is-${kind}`, "aria-hidden": "true" }, ...text);
    const all = [
      tile.missing ? badge("missing", "missing") : null,
      tile.copies ? badge("copies", icon("copies"), `+${tile.copies}`) : null,
      tile.where ? badge("place", tile.where) : null,
      tile.quote ? badge("quote", quoted(tile)) : null,
      tile.badge ? badge("best", tile.badge) : null,
    ].filter(Boolean);
    return all.length ? [el("span", { class: "tile-badges" }, ...all)] : [];
  }

  fetch(tile) {
    const image = this.image;
    image.addEventListener("load", () => image.classList.add("is-there"), { once: true });
    image.addEventListener("error", () => {
      this.node.classList.add("is-broken");
      this.tell();
    }, { once: true });
    image.src = thumb(tile.key);
    if (image.complete && image.naturalWidth) image.classList.add("is-there", "at-once");
  }

  /** Show whether it is selected. */
  mark() {
    if (!this.tile) return;
    const on = selection.has(this.tile.key);
    this.check.setAttribute("aria-checked", String(on));
    this.node.setAttribute("aria-selected", String(on));
    this.node.classList.toggle("is-selected", on);
  }

  place(left, width, height) {
    const style = this.node.style;
    style.left = `${left}px`;
    style.width = `${width}px`;
    style.height = `${height}px`;
  }

  /** Give up a thumbnail that has not come: the tile has left the page. */
  drop() {
    if (this.image?.src && !this.image.complete) this.image.removeAttribute("src");
    this.node.remove();
  }
}
