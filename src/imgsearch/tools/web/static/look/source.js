// What a grid and the lightbox walk through: images by position, fetched when they are looked at.

const UNKNOWN = 4 / 3;

/** Width / height as a tile is drawn: panoramas and strips are cropped. */
const aspect = (tile) => Math.min(3.2, Math.max(0.5, tile.width / tile.height || UNKNOWN));

class Source {
  constructor(length) {
    this.tiles = new Array(length);
    this.aspects = new Float32Array(length).fill(UNKNOWN);
    this.sections = [{ start: 0, count: length }];
    this.listeners = new Set();
    this.abort = new AbortController();
  }

  get length() { return this.tiles.length; }

  /** The tile at a position; undefined if it has not come yet. */
  at(i) { return this.tiles[i]; }

  /** The position of an image by its key; -1 if it is not there, or not yet. */
  indexOf(key) { return this.tiles.findIndex(tile => tile?.key === key); }

  subscribe(listener) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  changed() { for (const listener of this.listeners) listener(); }

  close() {
    this.abort.abort();
    this.listeners.clear();
  }
}

/** A list whose length is known; `load(offset, n, signal)` → tiles, in pages, around what is looked at. */
export class Pages extends Source {
  constructor(length, load, { page = 200, sections, first } = {}) {
    super(length);
    Object.assign(this, { load, page, pages: new Map() });
    if (sections) this.sections = sections;
    if (first) this.take(0, first);
    else this.first = this.fetch(0);
  }

  /** Fetch what is missing from one position to another; what was under way elsewhere is given up. */
  want(from, to) {
    const low = Math.floor(Math.max(0, from) / this.page);
    const high = Math.floor(Math.min(this.length - 1, to) / this.page);
    for (const [number, abort] of this.pages) if (abort && (number < low - 1 || number > high + 1)) abort.abort();
    const asked = [];
    for (let number = low; number <= high; number++) if (!this.pages.has(number)) asked.push(this.fetch(number));
    return Promise.all(asked);
  }

  async fetch(number) {
    const abort = new AbortController(), start = number * this.page;
    this.abort.signal.addEventListener("abort", () => abort.abort(), { once: true });
    this.pages.set(number, abort);
    try {
      const tiles = await this.load(start, Math.min(this.page, this.length - start), abort.signal);
      this.take(number, tiles);
      this.changed();
    } catch {
      this.pages.delete(number); // asked for again when it is next looked at; the page's banner says what is wrong
    }
  }

  take(number, tiles) {
    this.pages.set(number, null);
    tiles.forEach((tile, i) => {
      this.tiles[number * this.page + i] = tile;
      this.aspects[number * this.page + i] = aspect(tile);
    });
  }

  /** Fetch all up to a position. */
  async all(limit) {
    const last = Math.ceil(Math.min(limit, this.length) / this.page);
    for (let number = 0; number < last; number++) if (!this.pages.has(number)) await this.fetch(number);
  }
}

/**
 * Hits from the best on: as many as there are is not known; `next(offset)` → {tiles, more}. Stacks open in place.
 * `sectionsOf(tiles)` divides them, `keep(tile)` leaves some out; with `unique` one that comes twice is shown once.
 */
export class Hits extends Source {
  constructor(tiles, more, next, { unique = false, sectionsOf = null } = {}) {
    super(0);
    Object.assign(this, { hits: [...tiles], offset: tiles.length, more, next, unique, sectionsOf, keep: null, open: new Set() });
    this.rebuild();
  }

  rebuild() {
    const kept = this.keep ? this.hits.filter(this.keep) : this.hits;
    this.ended = kept.length < this.hits.length;
    this.tiles = kept.flatMap((hit) => (this.open.has(hit.key) ? [hit, ...members(hit)] : [hit]));
    this.aspects = Float32Array.from(this.tiles, aspect);
    this.sections = this.sectionsOf?.(this.tiles) ?? [{ start: 0, count: this.length }];
    this.changed();
  }

  /** Open or close the stack behind a hit. */
  toggle(hit) {
    if (!this.open.delete(hit.key)) this.open.add(hit.key);
    this.rebuild();
  }

  want(_, to) {
    const ahead = Math.min(300, this.length / 8);
    if (this.more && !this.ended && to + ahead > this.length) return this.fetch();
  }

  async fetch() {
    this.loading ??= this.next(this.offset, this.abort.signal);
    try {
      const { tiles, more } = await this.loading;
      if (this.abort.signal.aborted || !this.loading) return;
      this.loading = null;
      this.more = more && tiles.length > 0;
      this.offset += tiles.length;
      const known = new Set(this.unique ? this.hits.map((hit) => hit.key) : []);
      this.hits.push(...tiles.filter((tile) => !known.has(tile.key)));
      this.rebuild();
    } catch {
      this.loading = null;
    }
  }

  async all(limit) {
    for (let before = -1; this.more && this.length < limit && before !== this.length;) {
      before = this.length;
      await this.fetch();
    }
  }
}

const members = (hit) => hit.stack.map((one) => ({ copies: 0, missing: false, page: 0, folder: hit.folder, ...one, stack: [], member: hit.key }));
