// Elements made in code: everything is set as text, attribute or property, never parsed as HTML.

const SVG = "http://www.w3.org/2000/svg";

/** Return an element. props: class, text, on: {event: handler}, dataset: {}, style: {property: value} (by CSSOM);
 * other keys are attributes (true is "", null and false are left out). Children: nodes and text, also in lists. */
export function el(tag, props, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** Return an element of an SVG drawing; the same arguments. */
export function svg(tag, props, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

function fill(node, props, children) {
  for (const [key, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "class") node.setAttribute("class", value);
    else if (key === "text") node.textContent = value;
    else if (key === "on") for (const [event, handler] of Object.entries(value)) node.addEventListener(event, handler);
    else if (key === "dataset") Object.assign(node.dataset, value);
    else if (key === "style") for (const [name, one] of Object.entries(value)) node.style.setProperty(name, one);
    else node.setAttribute(key, value === true ? "" : String(value));
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Call f once what is in the page now has been painted. */
export function afterPaint(f) {
  requestAnimationFrame(() => requestAnimationFrame(() => f()));
}

/** Return the element with an id. */
export const byId = (id) => document.getElementById(id);

// Each a path on a square of 24, drawn as lines.
const ICONS = {
  search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM16 16l4.5 4.5",
  image: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.5 9.5h.01",
  close: "M6 6l12 12M18 6L6 18",
  filter: "M4 7h16M7 12h10M10 17h4",
  chevron: "M9 6l6 6-6 6",
  plus: "M12 5v14M5 12h14",
  minus: "M5 12h14",
  crop: "M7 3v14h14M3 7h14v14",
  calendar: "M4 6h16v14H4zM4 10h16M8 3v4M16 3v4",
  place: "M12 21c4-5 6-8 6-11a6 6 0 1 0-12 0c0 3 2 6 6 11zM12 10h.01",
  check: "M5 12.5l4.5 4.5L19 7.5",
  stack: "M4 9h12v11H4zM8 9V4h12v12h-4",
  copies: "M8 8h12v12H8zM16 8V4H4v12h4",
  copy: "M8 8h12v12H8zM16 8V4H4v12h4",
  similar: "M4 4h7v7H4zM13 13h7v7h-7zM13 4h7v7h-7zM4 13h7v7H4z",
  open: "M14 4h6v6M20 4l-9 9M18 14v6H4V6h6",
  folder: "M3 6h6l2 3h10v10H3z",
  download: "M12 4v11M7 11l5 5 5-5M5 20h14",
  info: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM12 11v5M12 8h.01",
  zoom: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM16 16l4.5 4.5M11 8v6M8 11h6",
  shuffle: "M3 7h4l10 10h4M3 17h4l3-3M14 10l3-3h4M18 4l3 3-3 3M18 14l3 3-3 3",
  back: "M15 6l-6 6 6 6",
  saved: "M6 4h12v16l-6-4-6 4z",
};

/** Return a drawn icon by its name; it is hidden from screen readers, the button around it has the label. */
export function icon(name) {
  return svg("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" }, svg("path", { d: ICONS[name] }));
}

/** Return a count and its noun: 1 image, 1,234 images. */
export function plural(count, noun) {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}

let announcing = 0;

/** Say a text to screen readers, once what is typed has come to rest. */
export function announce(text) {
  clearTimeout(announcing);
  announcing = setTimeout(() => {
    byId("live").textContent = text;
  }, 400);
}

let toasting = 0;

/** Show one line that disappears after some seconds. */
export function toast(text, { error = false } = {}) {
  byId("toast")?.remove();
  clearTimeout(toasting);
  const line = el("div", { id: "toast", class: error ? "toast is-error" : "toast", role: error ? "alert" : "status" });
  document.body.append(line);
  line.textContent = text;
  toasting = setTimeout(() => line.remove(), error ? 8000 : 4000);
}
