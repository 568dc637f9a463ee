// The collection at a glance: its clusters, each with a name, six images and a count.

import { el, plural } from "../page/dom.js";
import { card, first, heading, showCluster } from "./lists.js";
import * as stage from "../look/stage.js";
import { current } from "../page/state.js";

const AGAIN = 600; // milliseconds between two looks at how far the computation is
const names = new Map();

/** Show the clusters, or one of them. */
export async function showOverview(state) {
  let answer = await first("overview", {});
  if (answer?.state === "computing") answer = await computed(answer);
  if (!answer) return;
  for (const { id, name } of answer.clusters) names.set(id, name);
  if (state.cluster !== null) return showCluster(state, names.get(state.cluster) ?? "Cluster");
  if (!answer.clusters.length) return stage.putNotice("There is nothing to group yet", "An overview needs some images in the index.");
  const cards = answer.clusters.map(({ id, name, count, images }) => {
    const one = card({ name, title: name, note: plural(count, "image"), to: { view: "overview", cluster: id } });
    one.put(images);
    return one.node;
  });
  stage.put({ node: el("div", {}, heading("Overview", `${plural(answer.images, "image")} in ${plural(cards.length, "group")}`), el("div", { class: "cards is-clusters" }, cards)) });
}

/** Show how far the computation is until it is done; null if the page went elsewhere meanwhile. */
async function computed(answer) {
  const bar = el("progress", { "aria-label": "Grouping the images" }), count = el("span", { class: "muted" });
  stage.put({ node: el("div", { class: "notice is-large" }, el("strong", {}, "Grouping the images…"), bar, count) });
  while (answer?.state === "computing" && bar.isConnected) {
    if (answer.total) {
      bar.max = answer.total;
      bar.value = answer.done;
      count.textContent = `${answer.done.toLocaleString("en")} of ${answer.total.toLocaleString("en")}`;
    }
    await new Promise((resolve) => { setTimeout(resolve, AGAIN); });
    if (!bar.isConnected || current().view !== "overview") return null;
    answer = await first("overview", {});
  }
  return answer;
}
