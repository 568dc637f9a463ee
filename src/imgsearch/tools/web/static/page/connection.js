// Whether the server is there, busy, or has nothing to search: the progress line, the banner and the first notice.

import { get, onConnection } from "./api.js";
import { byId, el } from "./dom.js";

const SLOW_MS = 300;
const MODEL_MS = 1200;
const RETRY_MS = [1000, 2000, 4000, 8000];

const retries = new Set();
let retrying = 0;
let status = null;

/** Call f() when the server is back after it was gone. */
export function onBack(f) {
  retries.add(f);
}

/** Return what api/status told last, or null. */
export const lastStatus = () => status;

/** Start watching the server. */
export function start() {
  onConnection(draw);
  refresh();
}

async function refresh() {
  try {
    status = await get("status");
  } catch {
    return;
  }
  if (status.images === 0) sayEmpty();
}

function sayEmpty() {
  const notice = byId("notice");
  notice.className = "notice is-large";
  notice.replaceChildren(
    el("strong", { text: "No images are indexed yet" }),
    el("p", null, "Index a folder in a terminal, then reload this page: ", el("code", { text: "imgsearch index ~/Pictures" })),
  );
  notice.hidden = false;
}

// ---- busy ----------------------------------------------------------------------------------------------------

/** Show progress once something takes long; return a function that ends it. Words for a model that is still loaded
 * are put into the notice. */
export function busy(onSlow) {
  const bar = byId("progress");
  const slow = setTimeout(() => {
    bar.hidden = false;
    onSlow?.();
  }, SLOW_MS);
  let over = false;
  const model = setTimeout(async () => {
    const now = await get("status").catch(() => null);
    if (over || now === null || now.loaded !== false) return;
    const notice = byId("notice");
    notice.className = "notice";
    notice.replaceChildren(el("strong", { text: "Loading the model." }), " Only the first search waits for it.");
    notice.dataset.model = "";
    notice.hidden = false;
  }, MODEL_MS);
  return () => {
    over = true;
    clearTimeout(slow);
    clearTimeout(model);
    bar.hidden = true;
    const notice = byId("notice");
    if ("model" in notice.dataset) {
      delete notice.dataset.model;
      notice.hidden = true;
    }
  };
}

// ---- gone ----------------------------------------------------------------------------------------------------

function draw(now) {
  const banner = byId("banner");
  clearTimeout(retrying);
  if (now === "ok") {
    const back = !banner.hidden;
    banner.hidden = true;
    if (back) for (const f of retries) f();
    return;
  }
  if (now === "session") {
    banner.replaceChildren(
      el("strong", { text: "This page's session has ended." }),
      el("span", null, "Run ", el("code", { text: "imgsearch web" }), " again and open the link that it prints."),
    );
  } else {
    const retry = el("button", { class: "button", type: "button", text: "Try again", on: { click: () => knock(0) } });
    banner.replaceChildren(
      el("strong", { text: "The server does not answer." }),
      el("span", null, "If it was stopped, run ", el("code", { text: "imgsearch web" }), " again."),
      retry,
    );
    later(0);
  }
  banner.hidden = false;
}

function later(attempt) {
  retrying = setTimeout(() => knock(attempt + 1), RETRY_MS[Math.min(attempt, RETRY_MS.length - 1)]);
}

// Any answer tells the watchers above that the server is back.
async function knock(attempt) {
  clearTimeout(retrying);
  try {
    status = await get("status");
  } catch (error) {
    if (error.kind === "offline") later(attempt);
  }
}
