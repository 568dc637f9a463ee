// One image, large: its neighbours by the arrow keys, what is known of it, and zoom to its pixels.

import { ACTIONS } from "./actions.js";
import { get, original, thumb } from "../page/api.js";
import { announce, el, icon, plural } from "../page/dom.js";
import { selection } from "./selection.js";
import { change, current } from "../page/state.js";
import { dayOf, named, quoted } from "./tile.js";

const LARGE = 1600; // the long side of a large thumbnail
const SWIPE = 48;

let box = null; // the open lightbox

/** The image that is shown large, or null. */
export const shown = () => box?.tile ?? null;

/**
 * Show the image at a position of a source. `closed(index)` is called with the position of the last one that was shown;
 * `pushed`: the address was given an entry of its own, which Back takes away again.
 */
export function open(source, index, { closed, pushed = false } = {}) {
  box?.quit();
  box = new Lightbox(source, closed, pushed);
  box.go(index);
}

/** Close it, if it is open: the address no longer names an image. */
export const close = () => box?.quit();

/** Move to a neighbour, zoom and so on, by a key; false where no lightbox is open. */
export function key(name) {
  if (!box) return false;
  ({ next: () => box.step(1), previous: () => box.step(-1), first: () => box.go(0), zoom: () => box.zoom(), info: () => box.toggleInfo() })[name]();
  return true;
}

class Lightbox {
  constructor(source, closed, pushed) {
    Object.assign(this, { source, closed, pushed, pointers: new Map() });
    const tool = (label, glyph, run, extra) => el("button", { class: "icon-button", type: "button", "aria-label": label, title: label, on: { click: run }, ...extra }, icon(glyph));
    const act = (name) => () => ACTIONS[name](this.tile);
    this.image = el("img", { class: "lightbox-image", alt: "", draggable: "false" });
    this.words = el("div", { class: "lightbox-words", "aria-hidden": "true" });
    this.broken = el("p", { class: "lightbox-broken", hidden: true });
    this.stage = el("div", { class: "lightbox-stage" }, this.image, this.words, this.broken);
    this.title = el("h2", { class: "lightbox-title", id: "lightbox-title" });
    this.place = el("span", { class: "lightbox-place" });
    this.check = tool("Select (x)", "check", act("select"), { role: "checkbox" });
    this.previous = tool("Previous image (←)", "chevron", () => this.step(-1), { class: "icon-button lightbox-step is-previous" });
    this.next = tool("Next image (→)", "chevron", () => this.step(1), { class: "icon-button lightbox-step is-next" });
    this.facts = el("div", { class: "lightbox-facts" });
    this.info = tool("Details (i)", "info", () => this.toggleInfo(), { "aria-expanded": "true" });
    this.zoomer = tool("Actual pixels (z)", "zoom", () => this.zoom(), { "aria-pressed": "false" });
    this.side = el("aside", { class: "lightbox-side", "aria-label": "Details" },
      el("div", { class: "lightbox-actions" },
        [["Similar images", "similar", "similar", "s"], ["More like this", "more", "plus", "m"], ["Less like this", "less", "minus", "l"],
          ["Open", "open", "open", "o"], ["Show in folder", "reveal", "folder", "r"], ["Copy path", "copy", "copy", "c"]].map(([label, name, glyph, letter]) =>
          el("button", { class: "button", type: "button", title: `${label} (${letter})`, on: { click: act(name) } }, icon(glyph), label))),
      this.facts);
    this.dialog = el("dialog", { class: "lightbox", "aria-labelledby": "lightbox-title" },
      el("div", { class: "lightbox-bar" }, tool("Close (Esc)", "close", () => this.leave()), this.title, this.place,
        this.check, this.zoomer, this.info),
      el("div", { class: "lightbox-main" }, this.stage, this.previous, this.next), this.side);
    this.dialog.addEventListener("cancel", (event) => { event.preventDefault(); this.leave(); });
    this.listen();
    document.body.append(this.dialog);
    document.documentElement.classList.add("has-lightbox");
    if (innerWidth < 820) this.toggleInfo(false);
    this.dialog.showModal();
    this.observer = new ResizeObserver(() => this.fit());
    this.observer.observe(this.stage);
    this.ends = [selection.subscribe(() => this.mark()), source.subscribe(() => this.arrived())];
  }

  /** Close, and take the image out of the address. */
  leave() {
    this.quit();
    if (this.pushed) history.back();
    else change({ open: null }, { replace: true });
  }

  quit() {
    if (box === this) box = null;
    this.abort?.abort();
    this.observer.disconnect();
    for (const end of this.ends) end();
    document.documentElement.classList.remove("has-lightbox");
    this.dialog.close();
    this.dialog.remove();
    this.closed?.(this.index);
  }

  step(by) {
    const index = this.index + by;
    if (index >= 0 && index < this.source.length) this.go(index);
  }

  /** Show the image at a position; one that has not come is shown when it does. */
  go(index) {
    this.index = index;
    this.source.want(Math.max(0, index - 2), index + 2);
    this.previous.disabled = index === 0;
    this.next.disabled = index >= this.source.length - 1 && !this.source.more;
    this.place.textContent = this.source.length > 1 ? `${(index + 1).toLocaleString("en")} of ${this.source.length.toLocaleString("en")}${this.source.more ? "+" : ""}` : "";
    const tile = this.source.at(index);
    if (tile) this.show(tile);
    else this.tile = null;
  }

  /** More images have come. */
  arrived() {
    const moved = this.tile ? this.source.indexOf(this.tile.key) : this.index;
    if (moved < 0) return;
    if (!this.tile || moved !== this.index) this.go(moved);
    else this.next.disabled = this.index >= this.source.length - 1 && !this.source.more;
  }

  show(tile) {
    const same = this.tile?.key === tile.key;
    this.tile = tile;
    if (same) return;
    this.title.replaceChildren(el("span", {}, tile.name), tile.where ? ` · ${tile.where}` : "");
    this.image.alt = named(tile);
    this.broken.hidden = true;
    this.image.hidden = false;
    this.sharp = false;
    this.words.replaceChildren(...(tile.boxes ?? []).map(([left, top, right, bottom]) => el("i", {
      style: { left: `${100 * left}%`, top: `${100 * top}%`, width: `${100 * (right - left)}%`, height: `${100 * (bottom - top)}%` },
    })));
    // The small thumbnail is there already; the large one takes its place when it has come.
    this.image.src = thumb(tile.key);
    this.load(thumb(tile.key, "l"), tile);
    for (const by of [1, -1, 2]) {
      const near = this.source.at(this.index + by);
      if (near) new Image().src = thumb(near.key, "l");
    }
    this.fit();
    this.mark();
    this.describe(tile);
    if (current().open !== tile.key) change({ open: tile.key }, { replace: true });
    announce(named(tile));
  }

  async load(address, tile) {
    const image = new Image();
    image.src = address;
    try {
      await image.decode();
      if (this.tile === tile) this.image.src = address;
    } catch {
      if (this.tile !== tile || this.sharp) return;
      this.image.hidden = true;
      this.broken.hidden = false;
      this.broken.textContent = tile.missing ? "The file is not there now." : "This image can’t be shown.";
    }
  }

  mark() {
    const on = Boolean(this.tile && selection.has(this.tile.key));
    this.check.setAttribute("aria-checked", String(on));
    this.check.classList.toggle("is-on", on);
  }

  // What is known of the image

  async describe(tile) {
    this.abort?.abort();
    this.abort = new AbortController();
    this.facts.replaceChildren(...this.why(tile));
    try {
      const image = await get(`image/${encodeURIComponent(tile.key)}`, { signal: this.abort.signal });
      if (this.tile !== tile) return;
      this.known = image;
      this.facts.replaceChildren(...this.why(tile), factsOf(tile, image));
    } catch (error) {
      if (error.name !== "AbortError") this.facts.append(el("p", { class: "muted" }, error.message));
    }
  }

  why(tile) {
    if (tile.score === undefined || tile.score === null) return [];
    const known = tile.spreads !== null && tile.spreads !== undefined;
    const above = known ? `${Math.abs(tile.spreads).toFixed(1)} spreads ${tile.spreads < 0 ? "below" : "above"} chance` : null;
    const quote = tile.quote ? el("p", { class: "quote" }, quoted(tile)) : null;
    const others = tile.matched?.filter((one) => !(tile.quote && one.startsWith("text: "))); // the quote says it
    const matched = others?.length ? el("span", { class: "muted" }, others.join("; ")) : null;
    const said = tile.stands_out === true ? "It stands out from the rest." : tile.stands_out === false ? "It does not stand out from the rest." : null;
    return [el("div", { class: "why" }, el("strong", {}, tile.score.toFixed(2)), el("div", {}, el("span", {}, above ?? "score"), said ? el("span", { class: "muted" }, said) : null, matched)), quote].filter(Boolean);
  }

  toggleInfo(on = this.side.hidden) {
    this.side.hidden = !on;
    this.info.setAttribute("aria-expanded", String(on));
    this.dialog.classList.toggle("is-plain", !on);
  }

  // Zoom and pointers

  /** Make the image as large as fits; small ones grow to twice their size at most. */
  fit() {
    const { tile, stage } = this;
    if (!tile) return;
    const width = tile.width || 4, height = tile.height || 3;
    const edge = innerWidth > 820 ? 56 : 0; // where the arrows are
    const scale = Math.min((stage.clientWidth - 2 * edge) / width, (stage.clientHeight - edge / 2) / height, 2);
    this.zoomed = null;
    Object.assign(this, { scale, full: Math.max(1 / devicePixelRatio, scale * (scale >= 0.999 / devicePixelRatio ? 2 : 1)) });
    for (const { style } of [this.image, this.words]) {
      style.width = `${Math.round(width * scale)}px`;
      style.height = `${Math.round(height * scale)}px`;
    }
    this.move(0, 0);
  }

  /** Show the image's own pixels, around a point of the stage, or fit it again. */
  zoom(x = this.stage.clientWidth / 2, y = this.stage.clientHeight / 2) {
    const { tile, stage } = this;
    if (!tile) return;
    const times = this.full / this.scale;
    this.zoomed = this.zoomed ? null : { times, x: 0, y: 0 };
    if (this.zoomed && !this.sharp && Math.max(tile.width, tile.height) > LARGE) {
      this.sharp = true;
      this.load(original(tile.key), tile);
    }
    this.move((stage.clientWidth / 2 - x) * (times - 1), (stage.clientHeight / 2 - y) * (times - 1));
  }

  move(x, y) {
    const { stage, image, zoomed } = this;
    this.stage.classList.toggle("is-zoomed", Boolean(zoomed));
    this.zoomer.setAttribute("aria-pressed", String(Boolean(zoomed)));
    if (!zoomed) return this.shift("none");
    const reach = (shown, room) => Math.max(0, (shown * zoomed.times - room) / 2);
    const [across, down] = [reach(image.offsetWidth, stage.clientWidth), reach(image.offsetHeight, stage.clientHeight)];
    zoomed.x = Math.max(-across, Math.min(across, x));
    zoomed.y = Math.max(-down, Math.min(down, y));
    this.shift(`translate(${zoomed.x}px, ${zoomed.y}px) scale(${zoomed.times})`);
  }

  shift(transform) {
    for (const { style } of [this.image, this.words]) style.transform = transform;
  }

  listen() {
    const { stage } = this;
    stage.addEventListener("pointerdown", (event) => {
      if (event.button || !event.isPrimary) return;
      this.drag = { x: event.clientX, y: event.clientY, from: { ...this.zoomed }, far: 0, touch: event.pointerType === "touch" };
      stage.setPointerCapture(event.pointerId);
    });
    stage.addEventListener("pointermove", (event) => {
      if (!this.drag || !event.isPrimary) return;
      const dx = event.clientX - this.drag.x, dy = event.clientY - this.drag.y;
      this.drag.far = Math.max(this.drag.far, Math.hypot(dx, dy));
      if (this.zoomed) this.move(this.drag.from.x + dx, this.drag.from.y + dy);
      else if (this.drag.touch) this.shift(`translateX(${dx}px)`);
    });
    const up = (event) => {
      if (!this.drag || !event.isPrimary) return;
      const { x, y, far, touch } = this.drag, dx = event.clientX - x, dy = event.clientY - y;
      this.drag = null;
      if (this.zoomed ? far < 5 : far < 8) {
        const edge = stage.getBoundingClientRect();
        if (event.type === "pointerup") this.zoom(event.clientX - edge.left, event.clientY - edge.top);
        return;
      }
      if (this.zoomed || !touch) return;
      this.shift("none");
      if (Math.abs(dx) > SWIPE && Math.abs(dx) > Math.abs(dy)) this.step(dx < 0 ? 1 : -1);
      else if (dy > 2 * SWIPE && dy > Math.abs(dx)) this.leave();
    };
    stage.addEventListener("pointerup", up);
    stage.addEventListener("pointercancel", up);
  }
}

const bytes = (count) => (count < 1e6 ? `${Math.max(1, Math.round(count / 1e3))} KB` : `${(count / 1e6).toFixed(1)} MB`);

function factsOf(tile, image) {
  const here = image.latitude !== null && image.latitude !== undefined
    ? `${Math.abs(image.latitude).toFixed(4)}° ${image.latitude < 0 ? "S" : "N"}, ${Math.abs(image.longitude).toFixed(4)}° ${image.longitude < 0 ? "W" : "E"}` : null;
  const taken = image.taken ? `${dayOf(image.taken)}${image.taken.length > 10 ? `, ${image.taken.slice(11, 16)}` : ""}` : null;
  const rows = [
    ["Title", image.title],
    ["Description", image.description],
    ["Taken", taken],
    ["Camera", image.camera],
    ["Lens", image.lens],
    ["Place", image.place],
    ["Position", here],
    ["Rating", image.rating ? "★".repeat(image.rating) : null],
    ["Keywords", image.keywords?.length ? el("ul", { class: "keywords" }, image.keywords.map((word) => el("li", {}, word))) : null],
    ["Size", [image.width && `${image.width} × ${image.height}`, image.bytes && bytes(image.bytes)].filter(Boolean).join(", ")],
    ["Page", image.pages > 1 && image.kind !== "frame" ? `${tile.page + 1} of ${image.pages}` : null],
    ["Time", image.kind === "frame" ? `${image.where} (one of ${plural(image.pages, "frame")})` : null],
    ["In the archive", image.member],
    ["Path", el("span", { class: "path" }, image.path, image.fragment ? el("span", { class: "muted" }, image.fragment) : null)],
    [image.copies?.length ? plural(image.copies.length, "copy").replace("copys", "copies") : "", image.copies?.length ? el("ul", { class: "path" }, image.copies.map((path) => el("li", {}, path))) : null],
  ];
  return el("dl", { class: "facts" },
    image.missing ? el("div", { class: "is-missing" }, el("dt", {}, "Missing"), el("dd", {}, "The file is not there now; what you see was kept in the index.")) : null,
    rows.filter(([, value]) => value).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}
