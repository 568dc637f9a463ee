// The box, and the one search that is under way: as somebody types, and whenever the address asks something else.

import { post } from "../page/api.js";
import { busy, onBack } from "../page/connection.js";
import { afterPaint, announce, byId, el, icon, plural } from "../page/dom.js";
import { windowful } from "../look/grid.js";
import * as results from "../look/results.js";
import { asks, change, current, subscribe } from "../page/state.js";

const PAGE = [200, 1000]; // hits that are asked for when somebody scrolls, the more the further; first it is a window of them
const PAUSE_MS = [10, 300]; // between the last key and the search, while another is under way or answers come slowly
const SLOW_MS = 250;
const PROBLEM_MS = 700; // half a query is no error yet

const listeners = new Set();
let number = 0; // of the latest search: what an older one brings is dropped
let under = null; // its AbortController
let typed = 0; // the timer of the next one
let took = 0; // milliseconds of the last one
let waiting = false; // whether one is under way
let fresh = false; // whether the words typed now have an entry of the history of their own
let problem = 0;
let shown = null;

/** Call f(answer or null) when the results have changed. */
export function onAnswer(f) {
  listeners.add(f);
}

/** Start the box, and search for what the address asks. */
export function start() {
  const box = byId("q");
  byId("clear").append(icon("close"));
  box.value = current().q;
  box.addEventListener("input", () => later(box.value));
  box.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !event.defaultPrevented && box.value) clear();
  });
  byId("form").addEventListener("submit", (event) => {
    event.preventDefault();
    submit(box.value);
  });
  byId("clear").addEventListener("click", clear);
  byId("home").addEventListener("click", (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    change({ view: "search", q: "", unread: [], literal: false, examples: [], more: [], less: [], filters: {}, cut: null, open: null, cluster: null });
    box.focus();
  });
  addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, select, textarea, dialog, [contenteditable]");
    if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    box.focus();
    box.select();
  });
  subscribe((now, before) => {
    if (now.q !== before.q && box.value.trim() !== now.q.trim()) box.value = now.q;
    follow(now, key(now) !== key(before));
  });
  onBack(() => follow(current(), true));
  follow(current(), true);
  if (current().lost) tellLost();
  if (matchMedia("(hover: hover)").matches) box.focus();
}

function later(words) {
  clearTimeout(typed);
  byId("clear").hidden = !words;
  if (!waiting && took <= SLOW_MS) type(words, true);
  else typed = setTimeout(() => type(words, true), Math.min(Math.max(took / 4, PAUSE_MS[0]), PAUSE_MS[1]));
}

function type(words, typing) {
  clearTimeout(typed);
  const state = current();
  if (words.trim() === state.q.trim() && state.view === "search" && typing) return;
  byTyping = typing;
  change({ q: words.trim(), view: "search", cut: null, unread: [], open: null }, { replace: fresh });
  byTyping = false;
  fresh = true;
}

let byTyping = false;

function submit(words) {
  clearTimeout(typed);
  if (words.trim() !== current().q.trim() || current().view !== "search") type(words, false);
  else if (asks(current())) run(current(), false);
  fresh = false;
}

function clear() {
  byId("q").value = "";
  fresh = false;
  type("", false);
  fresh = false;
  byId("q").focus();
}

// ---- searching -----------------------------------------------------------------------------------------------

function body(state) {
  const { q, literal, unread, more, less, filters, sort, stacks } = state;
  const examples = state.examples.map(({ image, upload, weight }) => (image ? { image, weight } : { upload, weight }));
  return { q, literal, unread, examples, more, less, filters, sort, stacks };
}

const key = (state) => JSON.stringify([state.view, body(state)]);

// What is added or taken away, or the name of a saved query, has to be typed yet.
const begun = (q) => q.replace(/(^|\s)[+\-\u2212@]\s*$/u, "").trim();

function follow(state, changed) {
  if (!changed) return;
  byId("clear").hidden = !byId("q").value;
  document.title = state.view === "search" && state.q ? `${state.q} · imgsearch` : "imgsearch";
  if (state.view === "search" && asks(state)) run(state, byTyping);
  else stop();
  if (!byTyping) fresh = false;
}

function stop() {
  number += 1;
  under?.abort();
  waiting = false;
  sayProblem(null);
  publish(null);
}

async function run(state, typing) {
  under?.abort();
  under = new AbortController();
  const { signal } = under;
  const mine = ++number;
  const request = body(state);
  if (typing) request.q = begun(state.q);
  if (!asks({ ...state, q: request.q })) {
    stop();
    return;
  }
  const end = busy(results.busy);
  const began = performance.now();
  signal.addEventListener("abort", end);
  waiting = true;
  try {
    const answer = await post("search", { ...request, n: Math.min(windowful(), PAGE[0]), offset: 0, typing }, { signal });
    if (mine !== number) return;
    took = performance.now() - began;
    sayProblem(null);
    const further = (offset) => Math.round(Math.min(Math.max(offset / 2, PAGE[0]), PAGE[1]));
    results.show(answer, (offset) => post("search", { ...request, n: further(offset), offset, typing: true }, { signal }));
    // Hits are painted first; where there were none, what lies above them takes its place at once.
    if (answer.hits.length && shown?.hits.length) afterPaint(() => mine === number && publish(answer));
    else publish(answer);
    announce(summary(answer));
  } catch (error) {
    if (mine !== number || error.name === "AbortError") return;
    if (error.kind === undefined) throw error;
    if (error.kind === "stale") {
      run(state, false); // another window of this page has asked since
      return;
    }
    results.failed(error);
    if (error.kind !== "offline" && error.kind !== "session") sayProblem(error.message, typing ? PROBLEM_MS : 0);
  } finally {
    end();
    if (mine === number) waiting = false;
  }
}

function publish(answer) {
  if (answer === null && shown === null) return;
  shown = answer;
  if (answer) sayNothing(answer);
  else byId("notice").hidden = true;
  for (const f of listeners) f(answer);
}

function summary(answer) {
  if (!answer.hits.length) return "No images found";
  return answer.cut ? `${plural(answer.cut.count, "image")} found` : `${plural(answer.hits.length, "image")} shown`;
}

// ---- what is said under the box ------------------------------------------------------------------------------

function sayProblem(text, after = 0) {
  clearTimeout(problem);
  const line = byId("problem");
  const box = byId("q");
  if (!text) {
    line.hidden = true;
    box.removeAttribute("aria-invalid");
    return;
  }
  problem = setTimeout(() => {
    line.textContent = text;
    line.hidden = false;
    box.setAttribute("aria-invalid", "true");
  }, after);
}

function sayNothing(answer) {
  const notice = byId("notice");
  if (answer.hits.length) notice.hidden = !current().lost;
  else {
    notice.hidden = false;
    notice.className = "notice is-large";
    const filtered = Object.keys(current().filters).length > 0 || (answer.read ?? []).some((one) => one.kind === "date" || one.kind === "place");
    notice.replaceChildren(
      el("strong", { text: "No images found" }),
      el("p", { text: filtered ? "No image passes these filters. Take one away above." : "Try other words." }),
    );
  }
}

function tellLost() {
  const notice = byId("notice");
  notice.className = "notice";
  notice.replaceChildren(
    el("strong", { text: "The image you searched with is not in the address." }),
    " It was never kept: drop or paste it again.",
  );
  notice.hidden = false;
}
