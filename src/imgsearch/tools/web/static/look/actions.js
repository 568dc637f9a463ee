// What can be done with one image, by a button on its tile, in the lightbox or by a key.

import { get } from "../page/api.js";
import { toast } from "../page/dom.js";
import { copyText, onDesktop, selection } from "./selection.js";
import { asks, change, current } from "../page/state.js";

const MOST = 20; // examples in one query

/** Start a search for images similar to this one, within the filters that are set. */
function similar({ key }) {
  change({ view: "search", q: "", literal: false, unread: [], examples: [{ image: key, weight: 1 }], more: [], less: [], cut: null, sort: "score", open: null });
}

/** Refine what is searched for now: nearer to this image, or farther from it. */
function refine(name, { key }) {
  const now = current(), other = name === "more" ? "less" : "more";
  if (name === "less" && !asks(now)) return toast("Search for something first, then ask for less of it");
  const kept = now[name].filter((one) => one !== key);
  change({ view: "search", [name]: [...kept, key].slice(-MOST), [other]: now[other].filter((one) => one !== key), cut: null, sort: "score", open: null });
  toast(name === "more" ? "More like this" : "Less like this");
}

export const ACTIONS = {
  similar,
  more: (tile) => refine("more", tile),
  less: (tile) => refine("less", tile),
  open: ({ key, name }) => onDesktop("open", key, `Opening ${name}`),
  reveal: ({ key }) => onDesktop("reveal", key, "Shown in the file manager"),
  copy: ({ key }) => copyText(get(`image/${encodeURIComponent(key)}`).then((image) => image.path), "Path copied"),
  select: (tile) => selection.toggle(tile),
};
