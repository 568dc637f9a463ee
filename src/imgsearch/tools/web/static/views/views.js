// The views of the page without a query, their tabs, and the keys that work everywhere.

import { ACTIONS } from "../look/actions.js";
import { byId, el, toast } from "../page/dom.js";
import { showDuplicates } from "./duplicates.js";
import { register, start as listen } from "../page/keys.js";
import * as lightbox from "../look/lightbox.js";
import { showFolders, showRandom, showRecent, showTimeline } from "./lists.js";
import { showOverview } from "./overview.js";
import { MOST, copyPaths, mountSelection, selection } from "../look/selection.js";
import * as stage from "../look/stage.js";
import { asks, change, current, format, subscribe } from "../page/state.js";

const VIEWS = [
  ["timeline", "Timeline", showTimeline, "t"],
  ["folders", "Folders", showFolders, "f"],
  ["recent", "Recently added", showRecent, "a"],
  ["random", "Random", showRandom, "r"],
  ["overview", "Overview", showOverview, "o"],
  ["duplicates", "Duplicates", showDuplicates, "d"],
];

const viewOf = (state) => (state.view !== "search" ? state.view : asks(state) ? "search" : "timeline");

/** The state of a view: without the query, within the filters that are set. */
const stateOf = (view) => ({
  view, q: "", literal: false, unread: [], examples: [], more: [], less: [], sort: "score", cut: null, cluster: null, seed: null, open: null,
});

/** What makes a view another one; the image that is open does not. */
const identity = (state) => JSON.stringify([viewOf(state), state.filters, state.seed, state.cluster]);

let shown = null;

function route() {
  const state = current(), view = viewOf(state);
  drawTabs(view);
  stage.expect(view === "overview" && state.cluster !== null ? "cluster" : view);
  if (view === "search") {
    shown = null;
  } else if (shown !== identity(state)) {
    shown = identity(state);
    VIEWS.find(([name]) => name === view)[2](state).catch((error) => {
      shown = null;
      if (error.name !== "AbortError") stage.putNotice("This view can’t be shown", error.message);
    });
  }
  stage.follow();
}

let tabs = { of: null, nodes: [] };

function drawTabs(view) {
  const leads = (name) => (name === "search" ? { view: name, open: null } : stateOf(name));
  const href = (name) => format({ ...current(), ...leads(name) }) || "?";
  const tab = (name, label) => el("a", {
    class: "view", href: href(name), "aria-current": view === name ? "page" : null, dataset: { view: name },
    on: { click: (event) => { if (!event.ctrlKey && !event.metaKey && !event.shiftKey) { event.preventDefault(); change(leads(name)); } } },
  }, label);
  const of = `${view} ${asks(current())}`;
  if (tabs.of === of) { // as with each key that is typed
    for (const node of tabs.nodes) node.setAttribute("href", href(node.dataset.view));
    return;
  }
  const held = document.activeElement?.closest("#views a")?.textContent;
  tabs = { of, nodes: [...(asks(current()) ? [tab("search", "Results")] : []), ...VIEWS.map(([name, label]) => tab(name, label))] };
  byId("views").replaceChildren(...tabs.nodes);
  for (const one of byId("views").children) if (one.textContent === held) one.focus();
  byId("views").querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
}

/** The image that keys are about: the large one, else that of the grid. */
const chosen = () => lightbox.shown() ?? stage.grid()?.chosen ?? null;

const onImage = (name) => () => {
  const tile = chosen();
  if (!tile) return false;
  ACTIONS[name](tile);
};

async function selectAll() {
  const grid = stage.grid();
  if (!grid || lightbox.shown()) return false;
  const { source } = grid;
  if (source.more || source.length > 1000) toast("Selecting…");
  await source.all(MOST);
  selection.set(source.tiles.slice(0, MOST), true);
  if (source.length > MOST || source.more) toast(`The first ${MOST.toLocaleString("en")} are selected`);
}

function registerKeys() {
  const add = (keys, label, group, run, more) => register({ keys, label, group, run, ...more });
  add("/", "Go to the search box", "Search", () => { byId("q").focus(); byId("q").select(); });
  add("s", "Find images similar to this one", "Search", onImage("similar"), { modal: true });
  add("m", "More like this", "Search", onImage("more"), { modal: true });
  add("l", "Less like this", "Search", onImage("less"), { modal: true });
  const arrows = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"];
  add(["ArrowLeft", "p"], null, "Images", () => lightbox.key("previous"), { modal: true });
  add(["ArrowRight", "n"], null, "Images", () => lightbox.key("next"), { modal: true });
  add([...arrows, "PageUp", "PageDown", "Home", "End"], "Move among the images", "Images", (event) => move(event), { shown: arrows });
  add("Enter", "Open the image", "Images", () => false);
  add("Escape", "Close, or clear the selection", "Images", () => (selection.size ? selection.clear() : false));
  add("z", "Show the image’s own pixels", "Images", () => lightbox.key("zoom"), { modal: true });
  add("i", "Show or hide the details", "Images", () => lightbox.key("info"), { modal: true });
  add("e", "Open or close a stack", "Images", () => stage.grid()?.toggleStack() ?? false);
  add("o", "Open the file in its viewer", "Images", onImage("open"), { modal: true });
  add("r", "Show the file in its folder", "Images", onImage("reveal"), { modal: true });
  add("c", "Copy the path, or those of the selection", "Images", () => (chosen() && !selection.size ? onImage("copy")() : selection.size ? copyPaths() : false), { modal: true });
  add("x", "Select or deselect", "Selection", () => (lightbox.shown() ? onImage("select")() : stage.grid()?.selectChosen() ?? false), { modal: true });
  add(["Shift+ArrowLeft", "Shift+ArrowRight", "Shift+ArrowUp", "Shift+ArrowDown"], "Extend the selection", "Selection",
    (event) => stage.grid()?.extend(event.key) ?? false, { shown: ["Shift ←", "Shift →"] });
  add(["Ctrl+a"], "Select all", "Selection", () => (stage.grid()?.hasFocus ? void selectAll() : false), { shown: ["Ctrl A"] });
  for (const [view, label, , letter] of VIEWS) add(`g ${letter}`, label, "Go to", () => change(stateOf(view)));
}

function move(event) {
  const grid = stage.grid(), focus = document.activeElement;
  // Elsewhere the arrows scroll and move sliders, as everywhere.
  if (!grid || !(grid.hasFocus || (focus === document.body || focus === byId("content")) && event.key.startsWith("Arrow"))) return false;
  return grid.move(event.key);
}

/** From the box, where nothing else takes the key, down into the images. */
function leaveBox(event) {
  if (event.key !== "ArrowDown" || event.defaultPrevented || event.isComposing) return;
  if (stage.grid()?.move(event.key)) event.preventDefault();
}

/** Fill the tabs, show the view that the address names, and follow it. */
export function start() {
  mountSelection();
  registerKeys();
  byId("form").addEventListener("keydown", leaveBox);
  listen();
  new ResizeObserver(([entry]) => document.documentElement.style.setProperty("--top-height", `${Math.round(entry.target.getBoundingClientRect().height)}px`))
    .observe(document.querySelector(".top"));
  subscribe(route);
  route();
}
