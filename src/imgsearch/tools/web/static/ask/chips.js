// Chips: what was read out of the query and which filters apply, each to be taken away.

import { byId, el, icon } from "../page/dom.js";
import { onAnswer } from "./search.js";
import { change, current, subscribe } from "../page/state.js";

const ICONS = { date: "calendar", place: "place", saved: "saved", part: "plus", minus: "minus", filter: "filter" };
const SIGN = /(^|\s)([+\-\u2212])(?=\s|$)/u;

let read = [];

/** Start showing the chips. */
export function start() {
  onAnswer((answer) => {
    read = answer?.read ?? [];
    draw(current());
  });
  subscribe((now, before) => {
    if (now.filters !== before.filters || now.unread !== before.unread || now.literal !== before.literal) draw(now);
  });
  draw(current());
}

/** Split a query at the signs that stand alone: [{sign, text}], in order. */
export function partsOf(q) {
  const parts = [];
  let sign = "+";
  let rest = q;
  for (;;) {
    const found = SIGN.exec(rest);
    const text = (found ? rest.slice(0, found.index) : rest).trim();
    if (text) parts.push({ sign, text });
    if (!found) return parts;
    sign = found[2] === "+" ? "+" : "-";
    rest = rest.slice(found.index + found[0].length);
  }
}

/** Return a query without one of its parts; what is left begins with one that is added. */
export function without(q, label) {
  const parts = partsOf(q);
  const at = parts.findIndex((part) => part.text === label);
  if (at < 0) return q.replace(label, " ").replace(/\s+/g, " ").trim();
  parts.splice(at, 1);
  const first = parts.findIndex((part) => part.sign === "+");
  if (first < 0) return "";
  const ordered = [parts[first], ...parts.slice(0, first), ...parts.slice(first + 1)];
  return ordered.map((part, index) => (index ? `${part.sign} ${part.text}` : part.text)).join(" ");
}

function ofQuery(state) {
  const parts = partsOf(state.q);
  const several = parts.length > 1;
  return read
    .filter(({ kind }) => kind !== "part" || several)
    .map(({ kind, label }) => {
      const minus = kind === "part" && parts.find((part) => part.text === label)?.sign === "-";
      const remove =
        kind === "date" || kind === "place"
          ? () => change({ unread: [...new Set([...current().unread, kind])], cut: null })
          : () => change({ q: without(current().q, label), cut: null });
      const hint = kind === "date" || kind === "place" ? `Search for it as words instead: ${label}` : `Take away: ${label}`;
      return { name: minus ? "minus" : kind, label: minus ? `without ${label}` : label, remove, hint };
    });
}

const WORDS = {
  after: (value) => `after ${value}`,
  before: (value) => `before ${value}`,
  on: (value) => value,
  camera: (value) => value,
  lens: (value) => value,
  type: (value) => value.split(",").join(", "),
  name: (value) => `named ${value}`,
  min_size: (value) => `at least ${value}`,
  near: (value) => `near ${value}`,
  shape: (value) => value,
  rating: (value) => `${value} stars or more`,
  screenshots: (value) => (value ? "screenshots" : "no screenshots"),
  keyword: (value) => `keyword ${value}`,
  has: (value) => `with ${value}`,
  in: (value) => `in ${value.split("/").filter(Boolean).at(-1) ?? value}`,
};

function ofFilters(state) {
  return Object.entries(state.filters).flatMap(([name, value]) => {
    if (!(name in WORDS)) return [];
    const values = Array.isArray(value) ? value : [value];
    return values.map((one) => {
      const label = WORDS[name](one);
      const remove = () => {
        const filters = { ...current().filters };
        const left = Array.isArray(value) ? filters[name].filter((other) => other !== one) : [];
        if (left.length) filters[name] = left;
        else delete filters[name];
        if (name === "near") delete filters.within_km;
        change({ filters });
      };
      return { name: "filter", label, remove, hint: `Remove the filter: ${label}` };
    });
  });
}

function ofUnread(state) {
  const off = state.unread.map((kind) => ({
    name: kind,
    off: true,
    label: `${kind} as words`,
    hint: `Read the ${kind} again`,
    remove: () => change({ unread: current().unread.filter((other) => other !== kind), cut: null }),
  }));
  if (state.literal) off.push({ name: "part", off: true, label: "as typed", hint: "Read the query's signs again", remove: () => change({ literal: false }) });
  return off;
}

function draw(state) {
  const list = byId("chips");
  const chips = [...ofQuery(state), ...ofUnread(state), ...ofFilters(state)];
  const focused = list.contains(document.activeElement) ? [...list.querySelectorAll("button")].indexOf(document.activeElement) : -1;
  list.replaceChildren(
    ...chips.map(({ name, label, remove, hint, off }) =>
      el(
        "li",
        { class: `chip${name === "filter" ? " is-filter" : ""}${name === "minus" ? " is-minus" : ""}${off ? " is-off" : ""}`, title: label },
        icon(ICONS[name]),
        el("span", { class: "chip-label" }, el("bdi", { text: label })),
        el("button", { class: "chip-remove", type: "button", "aria-label": hint, title: hint, on: { click: remove } }, icon("close")),
      ),
    ),
  );
  list.hidden = !chips.length;
  if (focused >= 0) (list.querySelectorAll("button")[Math.min(focused, chips.length - 1)] ?? byId("q")).focus();
}
