// Stub: the results of a query.
import { byId, el } from "./dom.js";
import { thumb } from "./api.js";

export function show(answer) {
  byId("content").replaceChildren(
    ...answer.hits.map((hit) => el("figure", { class: "hit" }, el("img", { src: thumb(hit.key), alt: hit.name, width: 160 }), el("figcaption", { text: hit.name }))),
  );
}
export function cut() {}
export function busy() {}
export function failed() {}
