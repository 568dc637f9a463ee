// Groups of images that are the same or nearly so, the best of each first. Nothing is deleted here.

import { post } from "../page/api.js";
import { el, icon, plural } from "../page/dom.js";
import { first, heading } from "./lists.js";
import { copyText } from "../look/selection.js";
import { Hits } from "../look/source.js";
import * as stage from "../look/stage.js";

const PAGE = 60;
const COMMAND = "imgsearch duplicates --script review.sh";

/** Show the groups. */
export async function showDuplicates() {
  const answer = await first("duplicates", { n: PAGE, offset: 0 });
  if (!answer) return;
  if (!answer.groups.length) return stage.putNotice("No duplicates", "No two images in the index are the same, or nearly so.");
  const groups = [];
  // Each tile knows its group; the best of a group says so.
  const tiles = (found) => found.flatMap(({ reason, images }) => {
    groups.push({ heading: reason, note: plural(images.length, "image") });
    return images.map((tile, i) => ({ ...tile, stack: [], group: groups.length - 1, badge: i ? null : "keep" }));
  });
  const sectionsOf = (all) => {
    const sections = [];
    all.forEach(({ group }, i) => {
      if (sections.at(-1)?.group !== group) sections.push({ ...groups[group], group, start: i, count: 0 });
      sections.at(-1).count++;
    });
    return sections;
  };
  const next = async () => {
    const more = await post("duplicates", { n: PAGE, offset: groups.length });
    const found = tiles(more.groups);
    return { tiles: found, more: groups.length < more.total };
  };
  const source = new Hits(tiles(answer.groups), answer.groups.length < answer.total, next, { sectionsOf });
  const copy = el("button", { class: "icon-button", type: "button", title: "Copy the command", "aria-label": "Copy the command",
    on: { click: () => copyText(Promise.resolve(COMMAND), "Command copied") } }, icon("copy"));
  stage.putGrid(source, {
    label: "Duplicates", kind: "duplicates",
    head: el("div", {}, heading("Duplicates", plural(answer.total, "group")),
      el("p", { class: "view-note" }, "This page deletes nothing. To act on them, review the script that this command writes: ", el("code", {}, COMMAND), copy)),
  });
}
