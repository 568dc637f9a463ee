// Above the results: how many stand out, how scores are spread, a slider for the cut, and the order.

import { byId, el, plural, svg } from "../page/dom.js";
import * as results from "../look/results.js";
import { onAnswer } from "./search.js";
import { change, current, subscribe } from "../page/state.js";

const WIDTH = 320;
const HEIGHT = 44;
const ORDERS = [["score", "Best match first"], ["newest", "Newest first"], ["oldest", "Oldest first"], ["path", "By path"]];

let answer = null;
let parts = null; // of the slider that is on the page

/** Start showing the scores of each answer. */
export function start() {
  onAnswer((now) => {
    answer = now;
    draw();
  });
  subscribe((now, before) => {
    if (now.cut === before.cut || !answer || !parts) return;
    parts.slider.value = results.cutOf(now, answer) ?? parts.slider.min;
    apply(results.cutOf(now, answer), now.cut !== null);
  });
}

function draw() {
  const meter = byId("meter");
  const scored = answer?.hits.filter((hit) => typeof hit.score === "number") ?? [];
  meter.hidden = !scored.length;
  parts = null;
  if (meter.hidden) {
    meter.replaceChildren();
    return;
  }
  const text = el("div");
  parts = { text, scored };
  const ordering = meter.querySelector("select") === document.activeElement;
  meter.replaceChildren(el("div", { class: "meter-text" }, text, drawOrder()));
  if (ordering) meter.querySelector("select").focus();
  const state = current();
  // Too few images to tell chance by have no picture of it either.
  const judged = answer.cut?.judged !== false || state.cut !== null;
  if (answer.scores?.counts?.length && judged) meter.append(drawCut(scored));
  apply(results.cutOf(state, answer), state.cut !== null);
}

function drawOrder() {
  const order = el("select", { "aria-label": "Order", class: "order" }, ORDERS.map(([value, text]) => el("option", { value, text })));
  order.value = current().sort;
  order.addEventListener("change", () => change({ sort: order.value }));
  return order;
}

function drawCut(scored) {
  const { edges, counts, floor } = answer.scores;
  const tops = scored.map((hit) => hit.score);
  const widest = Math.max(edges.at(-1), ...tops) - Math.min(edges[0], ...tops) || 1;
  const step = 5 * 10 ** (Math.floor(Math.log10(widest)) - 2);
  const low = Math.floor(Math.min(edges[0], ...tops) / step) * step;
  const high = Math.ceil(Math.max(edges.at(-1), ...tops) / step) * step;
  const range = high - low || 1;
  const x = (score) => ((score - low) / range) * WIDTH;
  // The few that stand out are seen beside the many that do not: heights are logarithms.
  const tallest = Math.log1p(Math.max(...counts, 1));
  const bars = counts.map((count, at) => {
    const height = count ? Math.max(2, (Math.log1p(count) / tallest) * HEIGHT) : 0;
    const width = Math.max(1, x(edges[at + 1]) - x(edges[at]) - 1);
    return svg("rect", { class: "bar", x: x(edges[at]), y: HEIGHT - height, width, height, rx: 1 });
  });
  const at = svg("line", { class: "at", y1: -2, y2: HEIGHT });
  const drawing = svg(
    "svg",
    { class: "cut-drawing", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    bars,
    floor === null || floor === undefined ? null : svg("line", { class: "floor", x1: x(floor), x2: x(floor), y1: 0, y2: HEIGHT }),
    at,
  );
  const cut = results.cutOf(current(), answer);
  const slider = el("input", { type: "range", id: "cut", min: round(low), max: round(high), step: round(step), "aria-label": "Cut: leave out images that score less" });
  slider.value = cut ?? low;
  slider.addEventListener("input", () => apply(Number(slider.value), true));
  slider.addEventListener("change", () => change({ cut: round(Number(slider.value)) }, { replace: true }));
  const automatic = el("button", { class: "button is-plain", type: "button", text: "Automatic", on: { click: () => { slider.focus(); change({ cut: null }, { replace: true }); } } });
  const legend = el("span");
  const chance = floor === null || floor === undefined ? null : el("span", { class: "cut-chance", text: "chance" });
  Object.assign(parts, { slider, automatic, at, bars, edges, x, legend });
  return el("div", { class: "cut" }, drawing, slider, el("div", { class: "cut-legend" }, legend, chance, automatic));
}

const round = (score) => Math.round(score * 10000) / 10000;

function apply(cut, chosen) {
  const state = current();
  const above = cut === null ? parts.scored.length : parts.scored.filter((hit) => hit.score >= cut - 1e-6).length;
  const all = above === parts.scored.length && answer.more;
  say(cut, chosen, above, all);
  if (parts.slider) {
    const x = parts.x(cut ?? Number(parts.slider.min));
    parts.at.setAttribute("x1", x);
    parts.at.setAttribute("x2", x);
    parts.bars.forEach((bar, at) => bar.classList.toggle("is-above", cut !== null && parts.edges[at + 1] > cut));
    parts.automatic.hidden = !chosen;
    parts.legend.textContent = cut === null ? "No cut" : `${chosen ? "Cut" : "Automatic cut"} at ${cut.toFixed(2)}`;
    const shown = all ? `more than ${above} images` : plural(above, "image");
    parts.slider.setAttribute("aria-valuetext", cut === null ? "no cut" : `${cut.toFixed(2)}, ${shown}`);
  }
  if (state.view === "search") results.cut(cut, chosen);
}

function say(cut, chosen, above, all) {
  const counted = all && !chosen && answer.cut && !answer.cut.more; // the server has counted those not loaded too
  const count = counted ? plural(answer.cut.count, "image") : all ? `${above.toLocaleString("en")}+ images` : plural(above, "image");
  const total = typeof answer.total === "number" ? `of ${answer.total.toLocaleString("en")} searched` : "";
  const seconds = typeof answer.seconds === "number" ? `${Math.max(1, Math.round(answer.seconds * 1000))} ms` : "";
  let title = `${count} ${above === 1 ? "stands" : "stand"} out`;
  let why = "";
  if (chosen) title = `${count} at ${cut.toFixed(2)} or more`;
  else if (answer.cut?.judged !== false && answer.cut && answer.cut.count === 0) {
    title = "Nothing stands out";
    why = "Chance brings images as near as these. They are the nearest there are.";
  } else if (cut === null) title = "The nearest images";
  parts.text.replaceChildren(el("strong", { text: title }), el("p", { text: why || [total, seconds].filter(Boolean).join(" · ") }));
}
