// The server's interface: requests that can be aborted, errors with a message, and word of whether it is there.

/** What the server answered, or that it did not: kind is "session" when the page has to be opened again, "offline"
 * when nobody answered. */
export class ApiError extends Error {
  constructor(status, kind, message) {
    super(message);
    Object.assign(this, { status, kind });
  }
}

const watchers = new Set();
let connection = "ok";

/** Call f("ok" | "offline" | "session") whenever what is known of the server changes. */
export function onConnection(f) {
  watchers.add(f);
  return () => watchers.delete(f);
}

function tell(now) {
  if (now === connection) return;
  connection = now;
  for (const f of watchers) f(now);
}

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", redirect: "error", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    tell("offline");
    throw new ApiError(0, "offline", "The server does not answer.");
  }
  if (response.ok) {
    tell("ok");
    return response;
  }
  const said = await response.json().catch(() => null);
  const kind = response.status === 401 ? "session" : (said?.error?.kind ?? "error");
  tell(kind === "session" ? "session" : "ok");
  throw new ApiError(response.status, kind, said?.error?.message ?? `The server answered with an error (${response.status}).`);
}

const asJson = (body) => ({ method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

/** Return the JSON that api/NAME answers to a body. */
export async function post(name, body, { signal } = {}) {
  return (await ask(`api/${name}`, { ...asJson(body), signal })).json();
}

/** Return the JSON of api/NAME. */
export async function get(name, { signal } = {}) {
  return (await ask(`api/${name}`, { signal })).json();
}

/** Return the whole response of api/NAME to a body: a file. */
export async function download(name, body, { signal } = {}) {
  return ask(`api/${name}`, { ...asJson(body), signal });
}

/** Send an image file, or a part of it ({x, y, w, h} in fractions); return {upload, width, height}. */
export async function upload(file, crop, { signal } = {}) {
  const query = crop ? `?${new URLSearchParams(Object.entries(crop).map(([key, value]) => [key, value.toFixed(4)]))}` : "";
  const headers = { "Content-Type": "application/octet-stream" };
  return (await ask(`api/upload${query}`, { method: "POST", headers, body: file, signal })).json();
}

/** Return the address of a thumbnail, "s" or "l". */
export const thumb = (key, size = "s") => `thumb/${encodeURIComponent(key)}?size=${size}`;

/** Return the address of the image itself. */
export const original = (key) => `original/${encodeURIComponent(key)}`;
