// A grid of images in justified rows, of which only those in the window and around it are in the page.

import { afterPaint, el, icon } from "../page/dom.js";
import { arrange, lastAt, places } from "./layout.js";
import { selection } from "./selection.js";
import { Tile } from "./tile.js";

const GAP = 4;
const HEADING = 52;
const FAST = 3; // pixels a millisecond: faster than anybody looks; thumbnails wait until it is over
const SETTLED = 120; // milliseconds without scrolling

/** How tall rows are meant to be in a grid of some width. */
const target = (width) => (width < 520 ? 112 : width < 800 ? 150 : 184);

/** How far above and below the window images are drawn. */
const around = () => Math.max(500, innerHeight * 0.75);

/** About how many images, a little wider than tall, are drawn of a list whose beginning is in the window. */
export const windowful = () => Math.ceil((innerWidth * (innerHeight + around())) / (target(innerWidth) ** 2 * 1.2));

/** How much of the window's top and bottom is covered by bars. */
const covered = () => ({
  above: Math.max(0, document.querySelector(".top")?.getBoundingClientRect().bottom ?? 0),
  below: document.querySelector(".selection:not([hidden])")?.getBoundingClientRect().height ?? 0,
});

export class Grid {
  /**
   * source: of source.js. options: label of the grid; open(index), act(name, tile) for the buttons on a tile;
   * scale() → {floor, top} of the score bars; below(tile) → whether it is dimmed.
   */
  constructor(source, options) {
    Object.assign(this, { source, options, rows: new Map(), groups: new Map(), active: 0, anchored: null, layout: null });
    this.root = el("div", { class: "grid", role: "grid", "aria-label": options.label, "aria-multiselectable": "true" });
    this.tools = this.makeTools();
    const later = () => { this.frame ||= requestAnimationFrame(() => this.draw()); };
    const abort = new AbortController();
    const on = (target, name, f, more) => target.addEventListener(name, f, { signal: abort.signal, ...more });
    on(window, "scroll", later, { passive: true });
    on(window, "resize", later);
    on(this.root, "click", (event) => this.clicked(event));
    on(this.root, "contextmenu", (event) => this.held(event));
    on(this.root, "pointerdown", (event) => { this.pointer = event.pointerType; });
    on(this.root, "pointerover", (event) => event.pointerType === "mouse" && this.point(event.target.closest(".tile")?.tile ?? null));
    on(this.root, "pointerleave", () => this.point(null));
    on(this.root, "focusin", (event) => this.focused(event.target.closest(".tile")?.tile));
    on(this.root, "focusout", (event) => !this.root.contains(event.relatedTarget) && this.point(null));
    const size = new ResizeObserver(() => this.root.clientWidth !== this.width && this.arrange());
    size.observe(this.root);
    const ends = [source.subscribe(() => this.arrange()), selection.subscribe(() => this.each((tile) => tile.mark()))];
    this.end = () => {
      abort.abort();
      size.disconnect();
      for (const end of ends) end();
      cancelAnimationFrame(this.frame);
      clearTimeout(this.settling);
      this.root.remove();
    };
  }

  /** Compute where everything lies, and keep what is looked at where it is on the screen. */
  arrange() {
    const width = this.root.clientWidth;
    if (!width) return;
    const box = this.root.getBoundingClientRect(), above = covered().above;
    const still = this.inView && Math.abs(box.top - this.lastTop) < 1; // not while somebody scrolls away from it
    const before = this.layout, row = before && box.top < above ? lastAt(before.top, above - box.top, before.rows) : -1;
    const anchor = row > 0 ? { index: before.first[row], top: before.top[row] } : null;
    this.width = width;
    this.layout = arrange(this.source.aspects, this.source.sections, { width, target: target(width), gap: GAP, heading: HEADING });
    this.root.style.height = `${this.layout.total}px`;
    this.root.setAttribute("aria-rowcount", this.layout.rows);
    if (anchor && this.source.length) {
      const moved = this.layout.top[this.rowOf(Math.min(anchor.index, this.source.length - 1))] - anchor.top;
      if (moved) scrollBy({ top: moved, behavior: "instant" });
    }
    if (still && this.source.length) this.reveal(this.active);
    this.stale = true;
    this.draw();
    this.options.arranged?.(this);
  }

  rowOf(index) { return lastAt(this.layout.first, index, this.layout.rows); }

  /** Put the rows into the page that are in the window and around it, and take out the others. */
  draw() {
    this.frame = 0;
    if (!this.layout || !this.root.isConnected) return;
    if (this.inView && innerHeight !== this.height) this.reveal(this.active);
    this.height = innerHeight;
    const { layout, source } = this, box = this.root.getBoundingClientRect();
    // What can be seen is drawn first, and what is around it once that has been painted.
    const { begun } = this, margin = begun ? around() : 0;
    if (!begun) afterPaint(() => this.draw());
    this.begun = true;
    const now = performance.now(), speed = Math.abs(box.top - this.lastTop) / Math.max(1, now - this.lastTime);
    const fast = speed > FAST && now - this.lastTime < 200;
    [this.lastTop, this.lastTime] = [box.top, now];
    clearTimeout(this.settling);
    if (fast) this.settling = setTimeout(() => this.draw(), SETTLED);
    const from = layout.rows ? lastAt(layout.top, -box.top - margin, layout.rows) : 0;
    const to = layout.rows ? lastAt(layout.top, -box.top + innerHeight + margin, layout.rows) + 1 : 0;
    const held = this.hasFocus, kept = held && this.active < source.length ? this.rowOf(this.active) : -1; // the focus stays in the page
    for (const [row, one] of this.rows) if ((row < from || row >= to) && row !== kept) this.dropRow(row, one);
    for (let row = to - 1; row >= from; row--) this.drawRow(row, !fast);
    if (kept >= 0 && (kept < from || kept >= to)) this.drawRow(kept, false);
    for (const [number, group] of this.groups) if (!group.rows.childElementCount) this.dropGroup(number, group);
    this.stale = false;
    if (held && !this.hasFocus) this.tileAt(this.active)?.link.focus({ preventScroll: true }); // its row was drawn again
    if (!held) this.tabStop(-box.top);
    // What has the focus stays in the window when that shrinks or the rows change, unless it was scrolled out of it.
    this.inView = kept >= 0 && this.outside(this.active) === 0;
    if (begun && !fast && to > from) source.want(layout.first[from], layout.first[to] - 1);
    this.options.drawn?.(-box.top);
  }

  drawRow(row, load) {
    const { layout, source, options } = this, start = layout.first[row], end = layout.first[row + 1], scale = options.scale?.();
    const shape = `${start}-${end}-${layout.height[row]}-${this.width}`;
    let one = this.rows.get(row);
    if (one && (this.stale || one.shape !== shape)) {
      const group = this.group(layout.section[row]);
      if (one.shape !== shape) {
        this.dropRow(row, one);
        one = null;
      } else {
        if (one.node.parentNode !== group.rows) group.rows.append(one.node);
        this.placeRow(row, one.node);
      }
    }
    if (!one) {
      const node = el("div", { class: "grid-row", role: "row", "aria-rowindex": row + 1 });
      one = { node, shape, tiles: [] };
      for (const [index, left, width] of places(source.aspects, layout, row, { width: this.width, gap: GAP })) {
        const tile = new Tile(index);
        tile.node.setAttribute("aria-colindex", index - start + 1);
        tile.place(left, width, layout.height[row]);
        one.tiles.push(tile);
        node.append(tile.node);
      }
      this.rows.set(row, one);
      this.placeRow(row, node);
      const rows = this.group(layout.section[row]).rows;
      // In the order of reading: before the next row that is there.
      rows.insertBefore(node, [...rows.children].find((other) => Number(other.ariaRowIndex) > row + 1) ?? null);
    }
    for (const tile of one.tiles) {
      const given = source.at(tile.index);
      if (!given) continue;
      tile.fill(given, { scale, load, opened: Boolean(source.open?.has(given.key)) });
      tile.node.classList.toggle("is-below", Boolean(options.below?.(given)));
    }
  }

  placeRow(row, node) {
    const { layout } = this, top = layout.top[row] - layout.sectionTop[layout.section[row]];
    node.style.transform = `translateY(${top}px)`;
    node.style.height = `${layout.height[row]}px`;
  }

  dropRow(row, { node, tiles }) {
    if (tiles.some((tile) => tile === this.pointed)) this.point(null);
    for (const tile of tiles) tile.drop();
    node.remove();
    this.rows.delete(row);
  }

  /** The node of a section: its heading stays at the window's top while the section is there. */
  group(number) {
    const { layout, source } = this, section = source.sections[number];
    let group = this.groups.get(number);
    const shape = `${layout.sectionTop[number]}-${layout.sectionTop[number + 1]}-${section.heading ?? ""}-${section.note ?? ""}`;
    if (group?.shape === shape) return group;
    if (!group) {
      const rows = el("div", { class: "grid-rows", role: "rowgroup" });
      const title = section.heading ? el("h2", {}) : null;
      const head = title ? el("div", { class: "grid-heading", role: "row" }, el("div", { role: "rowheader" }, title)) : null;
      const node = el("div", { class: "grid-section", role: "presentation" }, head ? el("div", { class: "grid-head", role: "rowgroup" }, head) : null, rows);
      group = { node, rows, title };
      this.groups.set(number, group);
      const next = [...this.groups.keys()].filter((other) => other > number).sort((a, b) => a - b)[0];
      this.root.insertBefore(node, next === undefined ? null : this.groups.get(next).node);
    }
    group.shape = shape;
    group.title?.replaceChildren(section.heading, section.note ? el("span", { class: "grid-note" }, section.note) : "");
    group.node.style.transform = "";
    group.node.style.top = `${layout.sectionTop[number]}px`;
    group.node.style.height = `${layout.sectionTop[number + 1] - layout.sectionTop[number]}px`;
    return group;
  }

  dropGroup(number, group) {
    group.node.remove();
    this.groups.delete(number);
  }

  each(f) { for (const { tiles } of this.rows.values()) for (const tile of tiles) f(tile); }

  /** The node of an image that is in the page now. */
  tileAt(index) {
    if (!this.layout || index < 0 || index >= this.source.length) return null;
    return this.rows.get(this.rowOf(index))?.tiles.find((tile) => tile.index === index) ?? null;
  }

  /** Draw again what depends on the cut or the address. */
  refresh() {
    this.each((tile) => { tile.opened = undefined; });
    this.arrange();
  }

  // Pointing and clicking

  makeTools() {
    const tool = (name, label, glyph) => el("button", { class: "tile-tool", type: "button", tabindex: "-1", title: label, "aria-label": label,
      on: { click: (event) => { event.stopPropagation(); this.options.act(name, this.pointed.tile); } } }, icon(glyph));
    return el("div", { class: "tile-tools" },
      tool("similar", "Find images similar to this one (s)", "similar"),
      tool("more", "More like this (m)", "plus"),
      tool("less", "Less like this (l)", "minus"));
  }

  /** The one set of buttons goes to the tile that is pointed at or has the focus. */
  point(tile) {
    if (tile === this.pointed || (tile && !tile.tile)) return;
    this.pointed = tile;
    tile?.tell();
    if (tile) tile.node.append(this.tools);
    else this.tools.remove();
  }

  focused(tile) {
    if (!tile) return;
    this.tabbed?.link.setAttribute("tabindex", "-1");
    this.active = tile.index;
    this.tabbed = tile;
    tile.link.setAttribute("tabindex", "0");
    if (this.pointer !== "touch") this.point(tile);
  }

  /** Without the focus, Tab enters the grid at the image that had it, if it is in the window, else at the first there. */
  tabStop(y) {
    const { layout } = this;
    if (!layout.rows) return;
    const row = this.rowOf(Math.min(this.active, this.source.length - 1));
    const seen = layout.top[row] >= y && layout.top[row] < y + innerHeight;
    const first = lastAt(layout.top, Math.max(0, y), layout.rows);
    const tile = this.tileAt(seen ? this.active : layout.first[first]);
    if (!tile || tile === this.tabbed) return tile?.link.setAttribute("tabindex", "0");
    this.tabbed?.link.setAttribute("tabindex", "-1");
    this.tabbed = tile;
    tile.link.setAttribute("tabindex", "0");
  }

  clicked(event) {
    const tile = event.target.closest(".tile")?.tile;
    if (!tile?.tile) return event.preventDefault();
    const box = event.target.closest("button");
    if (box === tile.check || (selection.size && this.pointer === "touch" && !box)) {
      event.preventDefault();
      this.active = tile.index;
      return this.select(tile.index, event.shiftKey);
    }
    if (box && box === tile.stack) {
      this.source.toggle(tile.tile);
      return this.focus(tile.index);
    }
    if (box || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    if (event.shiftKey) this.select(tile.index, true);
    else this.options.open(tile.index);
  }

  /** A long press on a touch screen selects. */
  held(event) {
    const tile = event.target.closest(".tile")?.tile;
    if (this.pointer !== "touch" || !tile?.tile) return;
    event.preventDefault();
    this.select(tile.index);
  }

  /** Select an image or take it away; with `range` all from the last one that was selected so. */
  async select(index, range = false) {
    const tile = this.source.at(index);
    if (!tile) return;
    if (range && this.anchored !== null) {
      const [from, to] = [Math.min(index, this.anchored), Math.max(index, this.anchored)];
      await this.source.want(from, to);
      selection.set(this.source.tiles.slice(from, to + 1), true);
    } else selection.toggle(tile);
    this.anchored = index;
  }

  // The keyboard

  selectChosen() {
    if (!this.hasFocus) return this.pointed?.tile ? this.select(this.pointed.index) : false;
    return this.select(this.active);
  }

  /** Move, and select everything from the image where the selection began. */
  extend(key) {
    if (!this.hasFocus) return false;
    if (this.anchored === null) this.select(this.active);
    this.move(key);
    return this.select(this.active, true);
  }

  toggleStack() {
    const tile = this.chosen, { source } = this;
    const hit = tile?.member ? source.at(source.indexOf(tile.member)) : tile;
    if (!hit?.stack?.length || !source.toggle) return false;
    source.toggle(hit);
    if (this.hasFocus) this.focus(source.indexOf(hit.key));
  }

  get hasFocus() { return this.root.contains(document.activeElement); }

  /** The image that keys are about: that of the focus, else the one pointed at. */
  get chosen() {
    if (this.hasFocus) return this.source.at(this.active) ?? null;
    return this.pointed?.tile ?? null;
  }

  /** Move the focus to an image, into the window if it is not there. */
  focus(index) {
    if (!this.layout?.rows || !this.root.isConnected) return;
    index = Math.max(0, Math.min(this.source.length - 1, index));
    this.active = index;
    this.show(index);
    const tile = this.tileAt(index);
    if (tile) tile.link.focus({ preventScroll: true });
  }

  /** Scroll as little as needed for an image's row to be seen whole, and draw what is there. */
  show(index) {
    this.reveal(index);
    this.draw();
  }

  reveal(index) {
    const top = this.outside(index);
    if (top) scrollBy({ top, behavior: "instant" });
  }

  /** How many pixels of scrolling an image's row lacks to be seen whole: below 0 upwards, 0 if it is. */
  outside(index) {
    const { layout } = this, row = this.rowOf(Math.min(index, this.source.length - 1)), { above, below } = covered();
    const heading = this.source.sections[layout.section[row]].heading ? HEADING : 0;
    const y = this.root.getBoundingClientRect().top + layout.top[row];
    const low = y - above - heading - GAP, high = y + layout.height[row] + GAP - (innerHeight - below);
    return low < 0 ? low : Math.max(0, high);
  }

  /** Arrow keys: to the neighbour, or to the nearest of the row above or below. */
  move(key) {
    const { layout, source } = this;
    if (!layout?.rows) return false;
    if (!this.hasFocus) {
      this.focus(this.tabbed?.index ?? 0);
      return true;
    }
    const row = this.rowOf(this.active), page = Math.max(1, Math.floor((innerHeight * 0.8) / (target(this.width) + GAP)));
    const across = { ArrowLeft: -1, ArrowRight: 1 }[key], down = { ArrowUp: -1, ArrowDown: 1, PageUp: -page, PageDown: page }[key];
    if (across) this.focus(this.active + across);
    else if (down) this.focus(this.below(row, Math.max(0, Math.min(layout.rows - 1, row + down))));
    else if (key === "Home") this.focus(0);
    else if (key === "End") this.focus(source.length - 1);
    return true;
  }

  below(row, other) {
    if (row === other) return this.active;
    const middle = (at) => [...places(this.source.aspects, this.layout, at, { width: this.width, gap: GAP })].map(([i, x, w]) => [i, x + w / 2]);
    const [, x] = middle(row).find(([i]) => i === this.active);
    return middle(other).reduce((best, one) => (Math.abs(one[1] - x) < Math.abs(best[1] - x) ? one : best))[0];
  }
}
