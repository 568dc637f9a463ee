// Filters beside the images: what there is by year, camera, folder, type and rating, with counts that follow.

import { post } from "../page/api.js";
import { onBack } from "../page/connection.js";
import { byId, el, icon } from "../page/dom.js";
import { change, current, subscribe } from "../page/state.js";

const FEW = 7; // values of a group that are shown at first
const NARROW = matchMedia("(max-width: 820px)");

// A group: the filter that it sets, and how its values are read from the facets, shown and chosen.
const GROUPS = [
  { id: "year", title: "Year", filter: "on", value: (row) => (row.year === null ? null : String(row.year)), one: true },
  { id: "camera", title: "Camera", filter: "camera", value: (row) => row.camera, one: true },
  { id: "folder", title: "Folder", filter: "in", value: (row) => row.path, label: (row) => folderName(row.name) },
  { id: "type", title: "Type", filter: "type", value: (row) => row.type, commas: true },
  { id: "rating", title: "Rating", filter: "rating", value: (row) => row.rating, label: (row) => stars(row.rating), one: true },
];

const open = new Set(["year", "camera", "folder"]);
const all = new Set();
let facets = null; // under all filters
let freed = {}; // of each group that is chosen in: under the other filters
let number = 0;

/** Start the filters: in the column, or in a sheet where the page is narrow. */
export function start() {
  const panel = el("div", { id: "filters" });
  const sheet = el("dialog", { class: "sheet", id: "filter-sheet", "aria-label": "Filters" });
  const close = el("button", { class: "icon-button", type: "button", "aria-label": "Close", on: { click: () => sheet.close() } }, icon("close"));
  sheet.append(el("div", { class: "dialog-head" }, el("h2", { text: "Filters" }), close));
  sheet.addEventListener("click", (event) => event.target === sheet && sheet.close());
  document.body.append(sheet);
  const place = () => {
    if (!NARROW.matches && sheet.open) sheet.close();
    (NARROW.matches ? sheet : byId("side")).append(panel);
  };
  NARROW.addEventListener("change", place);
  place();
  byId("show-filters").addEventListener("click", () => sheet.showModal());
  subscribe((now, before) => now.filters !== before.filters && load());
  onBack(load);
  load();
}

async function load() {
  const mine = ++number;
  const { filters } = current();
  draw();
  // A group in which something is chosen counts what its other values would find.
  const chosen = GROUPS.filter((group) => filters[group.filter] !== undefined);
  const rest = (group) => Object.fromEntries(Object.entries(filters).filter(([name]) => name !== group.filter));
  try {
    const [now, ...others] = await Promise.all([
      post("facets", { filters }),
      ...chosen.map((group) => post("facets", { filters: rest(group) })),
    ]);
    if (mine !== number) return;
    facets = now;
    freed = Object.fromEntries(chosen.map((group, at) => [group.id, others[at]]));
  } catch (error) {
    if (error.kind === undefined) throw error;
    return; // the banner, or the line under the box, tells
  }
  draw();
}

function rows(group) {
  const found = (freed[group.id] ?? facets)?.[group.id] ?? [];
  if (group.id !== "rating") return found;
  // A rating finds what has as many stars or more.
  const rated = found.filter((row) => row.rating !== null).sort((one, other) => other.rating - one.rating);
  let sum = 0;
  return rated.map((row) => ({ rating: row.rating, images: (sum += row.images) })).filter((row) => row.rating > 0);
}

function chosenIn(group) {
  const value = current().filters[group.filter];
  if (value === undefined) return [];
  if (Array.isArray(value)) return value;
  return group.commas ? value.split(",") : [value];
}

function toggle(group, value) {
  const filters = { ...current().filters };
  const chosen = chosenIn(group);
  const has = chosen.includes(value);
  let next = has ? chosen.filter((one) => one !== value) : [...chosen, value];
  if (group.one) next = has ? [] : [value];
  if (!next.length) delete filters[group.filter];
  else if (group.one) filters[group.filter] = value;
  else filters[group.filter] = group.commas ? next.join(",") : next;
  change({ filters });
}

// ---- drawing -------------------------------------------------------------------------------------------------

function draw() {
  const panel = byId("filters");
  const at = document.activeElement?.dataset?.at; // a new button takes the focus of the one that it stands for
  const count = Object.keys(current().filters).length;
  const clear = el("button", { class: "button is-plain", type: "button", text: "Clear", dataset: { at: "clear" }, on: { click: () => change({ filters: {} }) } });
  const groups = GROUPS.map(drawGroup).filter(Boolean);
  const head = el("div", { class: "side-head" }, el("h2", { text: count ? `${count} chosen` : "Filters" }), count ? clear : null);
  panel.replaceChildren(...(groups.length ? [head, ...groups] : []));
  if (at) panel.querySelector(`[data-at="${CSS.escape(at)}"]`)?.focus();
  const button = byId("show-filters");
  button.textContent = count ? `Filters (${count})` : "Filters";
}

function drawGroup(group) {
  const found = rows(group);
  const chosen = chosenIn(group);
  const missing = chosen.filter((value) => !found.some((row) => group.value(row) === value));
  const label = (row) => (group.label ?? group.value)(row);
  const values = [
    ...missing.map((value) => ({ value, label: group.id === "folder" ? folderName(value) : String(value), images: 0 })),
    ...found.map((row) => ({ value: group.value(row), label: group.value(row) === null ? "" : label(row), images: row.images })),
  ];
  if (!values.some(({ value }) => value !== null)) return null;
  const shown = all.has(group.id) ? values : values.filter(({ value }, at) => at < FEW || chosen.includes(value));
  const more = values.length - shown.length;
  const details = el(
    "details",
    { class: "facet", open: open.has(group.id) || chosen.length > 0, on: { toggle: () => (details.open ? open.add(group.id) : open.delete(group.id)) } },
    el("summary", { dataset: { at: group.id } }, icon("chevron"), group.title),
    el("ul", { "aria-label": group.title }, shown.map((row) => el("li", null, drawValue(group, row, chosen)))),
    more > 0
      ? el("button", { class: "facet-value muted", type: "button", text: `Show ${more} more`, dataset: { at: `${group.id}-more` }, on: { click: () => { all.add(group.id); draw(); } } })
      : null,
  );
  return details;
}

function drawValue(group, { value, label, images }, chosen) {
  const count = el("span", { class: "facet-count", text: images.toLocaleString("en") });
  if (value === null) return el("div", { class: "facet-value muted" }, el("span", { class: "facet-name", text: "Unknown" }), count);
  return el(
    "button",
    {
      class: "facet-value", type: "button", title: String(value), "aria-pressed": chosen.includes(value) ? "true" : "false",
      dataset: { at: `${group.id}=${value}` }, on: { click: () => toggle(group, value) },
    },
    el("span", { class: "facet-name" }, el("bdi", { text: label })),
    count,
  );
}

function folderName(path) {
  return path.split("/").filter(Boolean).at(-1) ?? path;
}

function stars(rating) {
  return `${"★".repeat(rating)}${rating < 5 ? " and up" : ""}`;
}
