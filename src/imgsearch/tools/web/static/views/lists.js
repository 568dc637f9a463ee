// Everything without a query: by month with a scrubber, by folder, recently added, at random, one cluster.

import { post, thumb } from "../page/api.js";
import { el, icon, plural } from "../page/dom.js";
import { Scrubber } from "./scrubber.js";
import { Pages } from "../look/source.js";
import * as stage from "../look/stage.js";
import { change, current, format } from "../page/state.js";
import { monthOf } from "../look/tile.js";

const PAGE = 200;
let turn = 0; // of asking: an answer to an earlier view is dropped

/** Ask for a view's first answer; null if another view was asked for meanwhile. */
export async function first(name, body) {
  const mine = ++turn, answer = await post(name, body);
  return mine === turn ? answer : null;
}

function nothing({ filters }) {
  const clear = () => change({ filters: {} });
  if (Object.keys(filters).length) {
    stage.putNotice("No image passes these filters", el("button", { class: "button", type: "button", on: { click: clear } }, "Remove all filters"));
  } else stage.put({ node: el("div") }); // the page itself says that nothing is indexed yet
}

async function list(state, body, { label, head, kind = "list" }) {
  const asked = { filters: state.filters, ...body };
  const answer = await first("list", { ...asked, n: PAGE, offset: 0 });
  if (!answer) return;
  if (!answer.total) return nothing(state);
  const load = async (offset, n, signal) => (await post("list", { ...asked, n, offset }, { signal })).images;
  const source = new Pages(answer.total, load, { page: PAGE, first: answer.images });
  stage.putGrid(source, { label, kind, head: head?.(answer) ?? null });
}

export const heading = (title, note, ...more) => el("div", { class: "view-head" }, el("h2", {}, title), note ? el("span", { class: "muted" }, note) : null, ...more);

/** All images by month, newest first. */
export async function showTimeline(state) {
  const answer = await first("months", { filters: state.filters });
  if (!answer) return;
  if (!answer.months.length) return nothing(state);
  const sections = answer.months.map(({ month, count, offset }) => ({ start: offset, count, heading: monthOf(month), note: count.toLocaleString("en"), month }));
  const load = async (offset, n, signal) => (await post("list", { filters: state.filters, sort: "newest", n, offset }, { signal })).images;
  const total = sections.reduce((sum, { count }) => sum + count, 0);
  const source = new Pages(total, load, { page: PAGE, sections });
  const scrubber = new Scrubber();
  stage.putGrid(source, {
    label: "Timeline", kind: "timeline", foot: scrubber.root, end: () => scrubber.end(),
    arranged: (grid) => scrubber.arrange(grid), drawn: (y) => scrubber.at(y),
  });
}

/** Images by when they came into the index. */
export const showRecent = (state) => list(state, { sort: "added" }, { label: "Recently added", head: ({ total }) => heading("Recently added", plural(total, "image")) });

/** Images at random; the address holds the seed, so that Back finds the same ones. */
export async function showRandom(state) {
  const roll = () => Math.floor(Math.random() * 1e9);
  if (state.seed === null) return change({ seed: roll() }, { replace: true });
  const shuffle = el("button", { class: "button", type: "button", on: { click: () => change({ seed: roll() }) } }, icon("shuffle"), "Shuffle");
  await list(state, { sort: "random", seed: state.seed }, { label: "Random images", head: () => heading("Random", null, shuffle) });
}

/** The images of one cluster of the overview. */
export async function showCluster(state, name) {
  const back = el("a", { class: "button", href: format({ ...state, cluster: null }), on: { click: (event) => { event.preventDefault(); change({ cluster: null }); } } }, icon("back"), "Overview");
  await list(state, { cluster: state.cluster, sort: "newest" }, { label: name, head: ({ total }) => heading(name, plural(total, "image"), back) });
}

/** Folders with their counts and newest images. */
export async function showFolders(state) {
  const answer = await first("facets", { filters: state.filters });
  if (!answer) return;
  if (!answer.folder.length) return nothing(state);
  const fetches = new Map(); // card → what fetches its thumbnails, once it is seen
  const seen = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      seen.unobserve(target);
      fetches.get(target)();
    }
  }, { rootMargin: "300px" });
  const cards = answer.folder.map(({ path, images }) => {
    const filters = { ...state.filters, in: [path] };
    const { node, put } = card({ name: path.split("/").filter(Boolean).at(-1) ?? path, title: path, note: plural(images, "image"), to: { view: "timeline", filters } });
    fetches.set(node, () => post("list", { filters, sort: "newest", n: 4, offset: 0 }).then((found) => put(found.images), () => {}));
    return node;
  });
  stage.put({ node: el("div", {}, heading("Folders", plural(cards.length, "folder")), el("div", { class: "cards is-folders" }, cards)), end: () => seen.disconnect() });
  for (const one of cards) seen.observe(one);
}

/** A card that leads to a state of the page: thumbnails (`put` shows them), a name and a note. */
export function card({ name, title, note, to }) {
  const images = el("span", { class: "card-images", "aria-hidden": "true" });
  const go = (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    change(to);
  };
  const node = el("a", { class: "card", href: format({ ...current(), open: null, ...to }), title, on: { click: go } },
    images, el("span", { class: "card-text" }, el("span", { class: "card-name" }, name), el("span", { class: "muted" }, note)));
  const put = (tiles) => images.replaceChildren(...tiles.map(({ key }) => el("img", { src: thumb(key), alt: "", decoding: "async", loading: "lazy", draggable: "false" })));
  return { node, put };
}
