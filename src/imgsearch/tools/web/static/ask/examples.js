// Images in the query: dropped, pasted or picked, cropped and sent; shown as small images in the box's row.

import { ApiError, thumb, upload } from "../page/api.js";
import { busy } from "../page/connection.js";
import { askCrop } from "./crop.js";
import { byId, el, icon, toast } from "../page/dom.js";
import { change, current, keepPreview, subscribe } from "../page/state.js";

const MOST = 8; // images in a query

/** Start taking images. */
export function start() {
  byId("pick").append(icon("image"));
  byId("pick").addEventListener("click", () => byId("file").click());
  byId("file").addEventListener("change", (event) => {
    const files = [...event.target.files];
    event.target.value = "";
    add(files);
  });
  addEventListener("paste", paste);
  drop();
  subscribe((now, before) => {
    if (now.examples !== before.examples || now.more !== before.more || now.less !== before.less) draw(now);
  });
  draw(current());
}

function paste(event) {
  const files = [...(event.clipboardData?.files ?? [])];
  if (!files.length) return; // words are pasted as usual
  event.preventDefault();
  add(files);
}

function drop() {
  let over = null;
  const leave = () => {
    over?.remove();
    over = null;
  };
  // An image of the page itself that is dragged has "Files", too.
  let own = false;
  addEventListener("dragstart", () => (own = true));
  addEventListener("dragend", () => (own = false));
  const hasFiles = (event) => !own && event.dataTransfer?.types.includes("Files");
  addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault(); // else the browser would open the file instead of the page
    event.dataTransfer.dropEffect = "copy";
    if (over || document.querySelector("dialog[open]")) return;
    over = el("div", { class: "dropping", text: "Drop an image to search by it" });
    document.body.append(over);
  });
  addEventListener("dragleave", (event) => event.relatedTarget === null && leave());
  addEventListener("drop", (event) => {
    leave();
    if (!hasFiles(event)) return;
    event.preventDefault();
    add([...event.dataTransfer.files]);
  });
}

/** Search by files: one is cropped first, several are taken whole. */
export async function add(files) {
  if (!files.length || document.querySelector("dialog[open]")) return;
  const { examples } = current();
  if (examples.length + files.length > MOST) {
    toast(`A query has at most ${MOST} images.`, { error: true });
    return;
  }
  const one = files.length === 1;
  const asked = one ? await askCrop(files[0]) : { crop: null };
  if (asked === null) return;
  const end = busy();
  try {
    const made = [];
    for (const file of files) made.push(await send(file, asked.crop));
    const before = current();
    change({ examples: [...before.examples, ...made], view: "search", cut: null, open: null });
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.kind !== "offline" && error.kind !== "session") toast(error.message, { error: true });
  } finally {
    end();
  }
}

async function send(file, crop) {
  const answer = await upload(file, crop);
  const url = await preview(file, crop);
  keepPreview(answer.upload, url);
  return { upload: answer.upload, weight: 1, url };
}

/** Return the address of a small picture of the file, of its crop if it has one; null if the browser can't read it. */
async function preview(file, crop) {
  try {
    const bitmap = await createImageBitmap(file);
    const { x = 0, y = 0, w = 1, h = 1 } = crop ?? {};
    const side = 96;
    const scale = side / Math.min(bitmap.width * w, bitmap.height * h);
    const canvas = el("canvas", { width: side, height: side });
    const width = bitmap.width * scale;
    const height = bitmap.height * scale;
    const left = (x + w / 2) * width - side / 2;
    const top = (y + h / 2) * height - side / 2;
    canvas.getContext("2d").drawImage(bitmap, -left, -top, width, height);
    bitmap.close();
    const blob = await new Promise((done) => canvas.toBlob(done));
    return blob && URL.createObjectURL(blob);
  } catch {
    return null;
  }
}

// ---- the row -------------------------------------------------------------------------------------------------

function entries(state) {
  const less = (key) => change({ more: current().more.filter((one) => one !== key), less: [...current().less, key], cut: null });
  const more = (key) => change({ less: current().less.filter((one) => one !== key), more: [...current().more, key], cut: null });
  const gone = (list, key) => change({ [list]: current()[list].filter((one) => one !== key), cut: null });
  return [
    ...state.examples.map((example, at) => ({
      src: example.image ? thumb(example.image) : example.url,
      plus: example.weight > 0,
      name: example.image ? "Image" : "Uploaded image",
      turn: () => change({ examples: current().examples.map((one, other) => (other === at ? { ...one, weight: -one.weight } : one)), cut: null }),
      remove: () => change({ examples: current().examples.filter((_, other) => other !== at), cut: null }),
    })),
    ...state.more.map((key) => ({ src: thumb(key), plus: true, name: "More like this", turn: () => less(key), remove: () => gone("more", key) })),
    ...state.less.map((key) => ({ src: thumb(key), plus: false, name: "Less like this", turn: () => more(key), remove: () => gone("less", key) })),
  ];
}

function draw(state) {
  const list = byId("examples");
  const focused = [...list.querySelectorAll("button")].indexOf(document.activeElement);
  const shown = entries(state);
  list.replaceChildren(
    ...shown.map(({ src, plus, name, turn, remove }, at) => {
      const said = `${name} ${at + 1}: ${plus ? "added" : "taken away"}`;
      const hint = plus ? "Press to search for what is not like it" : "Press to search for what is like it";
      return el(
        "li",
        { class: plus ? "example" : "example is-minus" },
        el("button", { class: "example-image", type: "button", "aria-label": `${said}. ${hint}`, title: hint, on: { click: turn } }, src ? el("img", { src, alt: "" }) : icon("image")),
        el("span", { class: "example-sign", "aria-hidden": "true" }, icon(plus ? "plus" : "minus")),
        el("button", { class: "example-remove", type: "button", "aria-label": `Remove: ${name} ${at + 1}`, on: { click: remove } }, icon("close")),
      );
    }),
  );
  list.hidden = !shown.length;
  byId("q").placeholder = shown.length ? "Add words" : "Describe an image";
  if (focused >= 0) (list.querySelectorAll("button")[focused] ?? byId("q")).focus();
}
