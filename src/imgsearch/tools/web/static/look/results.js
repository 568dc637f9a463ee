// The answer to a query: hits from the best on, those behind the cut dimmed or left out.

import { byId, el, plural } from "../page/dom.js";
import * as stage from "./stage.js";
import { Hits } from "./source.js";
import { current } from "../page/state.js";

let source = null;
let at = { score: null, hide: false };

/** The score below which images are no closer than chance: the one that was set, else the automatic one. */
export function cutOf(state, answer) {
  if (state.cut !== null) return state.cut;
  return answer.cut && answer.cut.judged !== false && answer.cut.count > 0 ? answer.cut.score : null;
}

/** Show an answer of api/search; `fetchMore(offset)` → a promise of the next one. */
export function show(answer, fetchMore) {
  at = { score: cutOf(current(), answer), hide: current().cut !== null };
  const floor = answer.scores?.floor ?? Math.min(0, ...answer.hits.map((hit) => hit.score));
  const top = Math.max(floor, ...answer.hits.map((hit) => hit.score ?? floor));
  const next = async (offset) => {
    const more = await fetchMore(offset);
    return { tiles: more.hits, more: more.more };
  };
  source = new Hits(answer.hits, answer.more, next, { unique: true });
  source.sectionsOf = sections;
  source.keep = keep();
  source.rebuild();
  if (!answer.hits.length) return stage.put({ node: el("div"), source });
  stage.putGrid(source, { label: "Results", kind: "results", scale: () => ({ floor, top }), below });
}

const keep = () => (at.hide ? (tile) => !below(tile) : null);

const below = (tile) => at.score !== null && tile.score < at.score && !tile.member;

function sections(tiles) {
  const whole = [{ start: 0, count: tiles.length }];
  if (at.score === null || current().sort !== "score") return whole;
  const first = tiles.findIndex(below);
  if (first < 0) return whole;
  const rest = tiles.length - first;
  return [{ start: 0, count: first }, { start: first, count: rest, heading: "Below the cut", note: `${plural(rest, "image")}${source.more ? " or more" : ""}` }];
}

/** Dim the hits whose score is below the cut, or leave them out; null: there is no cut. */
export function cut(score, hide = false) {
  if (at.score === score && at.hide === hide) return;
  at = { score, hide };
  if (!source) return;
  source.keep = keep();
  source.rebuild();
}

/** A new answer is on its way, and slow: what is shown is the last one's. */
export const busy = () => byId("content").classList.add("is-busy");

/** The query failed; what was shown stays. */
export const failed = () => byId("content").classList.remove("is-busy");
