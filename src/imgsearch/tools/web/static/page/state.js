// What the page shows, and the address that says so: back, forward and reload find the same query again.

const VIEWS = ["search", "timeline", "folders", "recent", "random", "overview", "duplicates"];
const SORTS = ["score", "newest", "oldest", "path"];
const UNREAD = ["date", "place", "saved"];

// The filters of the API by what they hold in the address.
const TEXTS = ["after", "before", "on", "camera", "lens", "type", "name", "min_size", "near", "shape"];
const NUMBERS = ["rating", "within_km"];
const LISTS = ["in", "keyword", "has"];

const EMPTY = {
  view: "search", q: "", literal: false, unread: [], examples: [], more: [], less: [], filters: {}, sort: "score",
  stacks: true, cut: null, cluster: null, seed: null, open: null,
  lost: false, // whether the address names uploads that nobody has any more
};

/** Read a state from an address's query string. */
export function parse(search) {
  const given = new URLSearchParams(search);
  const one = (name, known) => (known.includes(given.get(name)) ? given.get(name) : known[0]);
  const number = (name) => {
    const value = given.get(name);
    return value !== null && value.trim() !== "" && Number.isFinite(Number(value)) ? Number(value) : null;
  };
  const filters = {};
  for (const name of TEXTS) if (given.get(name)) filters[name] = given.get(name);
  for (const name of NUMBERS) if (number(name) !== null) filters[name] = number(name);
  for (const name of LISTS) if (given.getAll(name).length) filters[name] = given.getAll(name);
  if (given.has("screenshots")) filters.screenshots = given.get("screenshots") !== "no";
  const images = (name, weight) => given.getAll(name).map((image) => ({ image, weight }));
  return {
    ...EMPTY,
    view: one("view", VIEWS),
    q: given.get("q") ?? "",
    literal: given.has("literal"),
    unread: (given.get("unread") ?? "").split(",").filter((kind) => UNREAD.includes(kind)),
    examples: [...images("like", 1), ...images("unlike", -1)],
    more: given.getAll("more"),
    less: given.getAll("less"),
    filters,
    sort: one("sort", SORTS),
    stacks: given.get("stacks") !== "no",
    cut: number("cut"),
    cluster: number("cluster"),
    seed: number("seed"),
    open: given.get("open"),
  };
}

/** Write a state as a query string; uploads are not in it, for only this session has them. */
export function format(state) {
  const out = new URLSearchParams();
  const put = (name, value) => value !== null && value !== "" && out.append(name, value);
  put("q", state.q);
  if (state.view !== "search") put("view", state.view);
  if (state.literal) put("literal", "1");
  put("unread", state.unread.join(","));
  for (const { image, weight } of state.examples) if (image) put(weight < 0 ? "unlike" : "like", image);
  if (state.examples.some((example) => example.upload)) put("uploads", "1");
  for (const name of ["more", "less"]) for (const key of state[name]) put(name, key);
  for (const name of [...TEXTS, ...NUMBERS]) put(name, state.filters[name] ?? null);
  for (const name of LISTS) for (const value of state.filters[name] ?? []) put(name, value);
  if (state.filters.screenshots !== undefined) put("screenshots", state.filters.screenshots ? "only" : "no");
  if (state.sort !== "score") put("sort", state.sort);
  if (!state.stacks) put("stacks", "no");
  for (const name of ["cut", "cluster", "seed", "open"]) put(name, state[name]);
  const text = out.toString();
  return text ? `?${text}` : "";
}

/** Whether there is a query: words, or images to go by. */
export function asks(state) {
  return Boolean(state.q.trim() || state.examples.length || state.more.length || state.less.length);
}

const subscribers = new Set();
const previews = new Map(); // of uploads, by their token

/** Keep the address of an upload's preview: the history holds its token only. */
export function keepPreview(token, url) {
  previews.set(token, url);
}

// An entry of the history remembers uploads that the server may still know; what is opened from an address can't.
function read(entry) {
  const state = parse(location.search);
  const uploads = entry?.uploads ?? [];
  state.examples.push(...uploads.map((one) => ({ ...one, url: previews.get(one.upload) ?? null })));
  state.lost = new URLSearchParams(location.search).has("uploads") && !uploads.length;
  return Object.freeze(state);
}

let now = read(history.state);

/** Return the state: frozen, a new one after each change. */
export const current = () => now;

/** Call f(now, before) after each change; return a function that ends it. */
export function subscribe(f) {
  subscribers.add(f);
  return () => subscribers.delete(f);
}

function turn(state) {
  const before = now;
  now = state;
  for (const f of subscribers) f(now, before);
}

/** Change some of the state, write the address, then tell the subscribers. With replace, Back skips what was. */
export function change(patch, { replace = false } = {}) {
  const state = Object.freeze({ ...now, lost: false, ...patch });
  const address = location.pathname + format(state);
  const same = address === location.pathname + location.search;
  const uploads = state.examples.filter((one) => one.upload).map(({ upload, weight }) => ({ upload, weight }));
  try {
    history[replace || same ? "replaceState" : "pushState"]({ uploads }, "", address);
  } catch {
    // Safari refuses too many changes at a time: the next one brings the address up to date.
  }
  turn(state);
}

addEventListener("popstate", (event) => turn(read(event.state)));
