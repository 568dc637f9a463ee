// The bar beside the timeline: years along its height, a handle that says the month, drag or arrow keys to go there.

import { el } from "../page/dom.js";
import { lastAt } from "../look/layout.js";

export class Scrubber {
  constructor() {
    this.bubble = el("span", { class: "scrubber-month" });
    this.handle = el("div", { class: "scrubber-handle", role: "slider", tabindex: "0", "aria-label": "Month", "aria-orientation": "vertical", "aria-valuemin": 0 }, this.bubble);
    this.years = el("div", { class: "scrubber-years", "aria-hidden": "true" });
    this.root = el("div", { class: "scrubber" }, this.years, this.handle);
    this.root.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      event.preventDefault();
      this.root.setPointerCapture(event.pointerId);
      this.root.classList.add("is-held");
      this.to(event.clientY);
    });
    this.root.addEventListener("pointermove", (event) => this.root.hasPointerCapture(event.pointerId) && this.to(event.clientY));
    for (const name of ["pointerup", "pointercancel"]) this.root.addEventListener(name, () => this.root.classList.remove("is-held"));
    this.handle.addEventListener("keydown", (event) => this.key(event));
  }

  end() { clearTimeout(this.quiet); }

  /** Follow a grid's layout: years stand where their first month is. */
  arrange(grid) {
    this.grid = grid;
    const { sectionTop, total } = grid.layout, { sections } = grid.source, height = this.root.clientHeight;
    this.root.hidden = sections.length < 2 || total < innerHeight * 1.5;
    this.handle.setAttribute("aria-valuemax", sections.length - 1);
    let year = null, last = -100;
    this.years.replaceChildren(...sections.flatMap(({ month }, number) => {
      const of = month?.slice(0, 4) ?? "?", top = (sectionTop[number] / total) * height;
      if (of === year || top - last < 22 || top > height - 14) return [];
      [year, last] = [of, top];
      return [el("span", { style: { top: `${top}px` } }, of)];
    }));
  }

  /** The grid was scrolled to y: the handle follows. */
  at(y) {
    if (!this.grid) return;
    const { sectionTop, total } = this.grid.layout, { sections } = this.grid.source;
    const share = Math.min(1, Math.max(0, y / Math.max(1, total - innerHeight)));
    this.number = lastAt(sectionTop, Math.max(0, y + 120), sections.length);
    this.handle.style.top = `${share * 100}%`;
    this.bubble.textContent = sections[this.number].heading;
    this.handle.setAttribute("aria-valuenow", this.number);
    this.handle.setAttribute("aria-valuetext", sections[this.number].heading);
    if (y !== this.last && this.last !== undefined) {
      this.root.classList.add("is-moving");
      clearTimeout(this.quiet);
      this.quiet = setTimeout(() => this.root.classList.remove("is-moving"), 900);
    }
    this.last = y;
  }

  to(clientY) {
    const box = this.root.getBoundingClientRect(), share = Math.min(1, Math.max(0, (clientY - box.top) / box.height));
    this.scroll(share * (this.grid.layout.total - innerHeight));
  }

  scroll(y) { scrollTo({ top: scrollY + this.grid.root.getBoundingClientRect().top + y, behavior: "instant" }); }

  key(event) {
    const { length } = this.grid.source.sections;
    const to = { ArrowUp: this.number - 1, ArrowDown: this.number + 1, PageUp: this.number - 12, PageDown: this.number + 12, Home: 0, End: length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    this.scroll(this.grid.layout.sectionTop[Math.min(length - 1, Math.max(0, to))] - document.querySelector(".top").getBoundingClientRect().bottom + 1);
  }
}
