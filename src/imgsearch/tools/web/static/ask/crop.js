// The dialog in which an image is cropped before it is searched by: with the pointer, or with the arrow keys.

import { el, icon } from "../page/dom.js";

const CORNERS = { nw: "Top left", ne: "Top right", sw: "Bottom left", se: "Bottom right" };
const LEAST = 0.05; // of a side
const STEP = 0.02;
const WHOLE = { x: 0, y: 0, w: 1, h: 1 };

/** Ask for the part of an image file to search by: {crop} in fractions, null in it for all; null if called off. */
export function askCrop(file) {
  return new Promise((done) => {
    const url = URL.createObjectURL(file);
    let answer = null;
    const frame = drawFrame(url, file.name);
    const search = el("button", { class: "button is-primary", type: "submit", text: "Search" });
    const reset = el("button", { class: "button is-plain", type: "button", text: "Whole image", on: { click: frame.reset } });
    const cancel = el("button", { class: "button", type: "button", text: "Cancel", on: { click: () => dialog.close() } });
    const close = el("button", { class: "icon-button", type: "button", "aria-label": "Close", on: { click: () => dialog.close() } }, icon("close"));
    const form = el(
      "form",
      null,
      el("div", { class: "dialog-head" }, el("h2", { text: "Search by this image" }), close),
      el("p", { class: "crop-hint", text: "Drag the corners to search by a part of it. With the keyboard: arrow keys on a corner, or on the frame to move it." }),
      frame.stage,
      el("div", { class: "dialog-foot" }, reset, cancel, search),
    );
    const dialog = el("dialog", { class: "cropping", "aria-label": "Search by this image" }, form);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      answer = { crop: frame.crop() };
      dialog.close();
    });
    dialog.addEventListener("close", () => {
      URL.revokeObjectURL(url);
      dialog.remove();
      done(answer);
    });
    document.body.append(dialog);
    dialog.showModal();
    search.focus();
  });
}

function drawFrame(url, name) {
  let box = { ...WHOLE };
  const image = el("img", { src: url, alt: "", draggable: "false" });
  const veil = el("div", { class: "crop-veil" });
  const frame = el("div", { class: "crop-frame" }, image, veil);
  const area = el("div", { class: "crop-box", tabindex: "0", role: "group" });
  const handles = Object.entries(CORNERS).map(([corner, label]) =>
    el("button", { class: "crop-handle", type: "button", "aria-label": `${label} corner of the crop`, dataset: { corner } }),
  );
  const stage = el("div", { class: "crop-stage" }, frame);
  image.addEventListener("load", () => {
    veil.append(area);
    frame.append(...handles);
  });
  image.addEventListener("error", () => {
    const words = "This browser can't show the image. It is searched by as a whole.";
    stage.replaceChildren(el("p", { class: "crop-none" }, el("bdi", { text: name }), el("br"), words));
  });

  function place() {
    const { x, y, w, h } = box;
    const percent = (value) => `${value * 100}%`;
    for (const [property, value] of [["left", x], ["top", y], ["width", w], ["height", h]]) area.style[property] = percent(value);
    area.setAttribute("aria-label", `Crop: ${Math.round(w * 100)} by ${Math.round(h * 100)} percent of the image`);
    for (const handle of handles) {
      const { corner } = handle.dataset;
      handle.style.left = percent(corner.includes("w") ? x : x + w);
      handle.style.top = percent(corner.includes("n") ? y : y + h);
    }
  }

  const within = (value, low, high) => Math.min(Math.max(value, low), high);

  function move(from, dx, dy) {
    box = { ...from, x: within(from.x + dx, 0, 1 - from.w), y: within(from.y + dy, 0, 1 - from.h) };
    place();
  }

  function pull(from, corner, dx, dy) {
    let [left, top, right, bottom] = [from.x, from.y, from.x + from.w, from.y + from.h];
    if (corner.includes("w")) left = within(left + dx, 0, right - LEAST);
    else right = within(right + dx, left + LEAST, 1);
    if (corner.includes("n")) top = within(top + dy, 0, bottom - LEAST);
    else bottom = within(bottom + dy, top + LEAST, 1);
    box = { x: left, y: top, w: right - left, h: bottom - top };
    place();
  }

  for (const node of [area, ...handles]) {
    const { corner } = node.dataset;
    const shift = (from, dx, dy) => (corner ? pull(from, corner, dx, dy) : move(from, dx, dy));
    node.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      event.preventDefault();
      node.focus();
      node.setPointerCapture(event.pointerId);
      const from = { ...box };
      const size = frame.getBoundingClientRect();
      const drag = (now) => shift(from, (now.clientX - event.clientX) / size.width, (now.clientY - event.clientY) / size.height);
      const end = () => {
        node.removeEventListener("pointermove", drag);
        node.removeEventListener("pointerup", end);
        node.removeEventListener("pointercancel", end);
      };
      node.addEventListener("pointermove", drag);
      node.addEventListener("pointerup", end);
      node.addEventListener("pointercancel", end);
    });
    node.addEventListener("keydown", (event) => {
      const step = event.shiftKey ? STEP * 4 : STEP;
      const [dx, dy] = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key] ?? [];
      if (dx === undefined) return;
      event.preventDefault();
      shift({ ...box }, dx, dy);
    });
  }
  place();
  const whole = () => box.w > 0.999 && box.h > 0.999;
  return {
    stage,
    crop: () => (whole() || !image.naturalWidth ? null : box),
    reset: () => {
      box = { ...WHOLE };
      place();
    },
  };
}
