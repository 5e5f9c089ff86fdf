// SPDX-License-Identifier: GPL-3.0-or-later
// What the page asks the window for. The key of the session is kept for this tab alone, and sent in a header.

const PLACE = "holofs-key";
const meta = document.querySelector("meta[name=holofs-key]");

if (meta.content) {
  sessionStorage.setItem(PLACE, meta.content);
  meta.content = "";
  history.replaceState(null, "", `/${location.hash}`);
}

/** An answer that is an error: `message` is a sentence for a person. */
export class Failed extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

async function post(place, data, signal) {
  let answer;
  try {
    answer = await fetch(place, {
      method: "POST",
      credentials: "same-origin",
      headers: { "content-type": "application/json", "x-holofs-key": sessionStorage.getItem(PLACE) ?? "" },
      body: JSON.stringify(data),
      signal,
    });
  } catch {
    throw new Failed("gone", "The window has ended: run `holofsctl ui` again.");
  }
  if (answer.ok) return answer;
  let error = null;
  try {
    error = (await answer.json()).error;
  } catch { /* no JSON: below */ }
  throw new Failed(error?.code ?? "failed", error?.message ?? "The window does not answer: try again.");
}

const json = async (place, data) => (await post(place, data)).json();

/** A call of the daemon, by its name in `holofs.v1.Control`. */
export const call = (method, data = {}) => json(`/api/call/${method}`, data);
export const share = (data) => json("/api/share", data);
export const settings = () => json("/api/settings", {});
export const change = (key, value) => json("/api/set", { key, value });

export async function end() {
  await post("/api/end", {});
  sessionStorage.removeItem(PLACE);
}

/** Content of a file or of an alternative of a conflict: its kind, and text or the address of a picture. */
export async function preview(data) {
  const answer = await post("/api/preview", data);
  const kind = answer.headers.get("x-holofs-kind");
  const is_cut = answer.headers.get("x-holofs-cut") === "1";
  if (kind === "picture") return { kind, is_cut, picture: URL.createObjectURL(await answer.blob()) };
  return { kind, is_cut, text: kind === "text" ? await answer.text() : "" };
}

/** Lets the browser save a file. */
export async function save(volume, path) {
  const { address } = await json("/api/offer", { volume, path });
  const link = document.createElement("a");
  link.href = address;
  link.download = "";
  link.click();
}

/** Calls `take(kind, data)` for each message, until `signal`; comes back where the connection was lost. */
export async function follow(take, signal) {
  const answer = await post("/api/follow", {}, signal);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    let at;
    while ((at = text.indexOf("\n\n")) >= 0) {
      const lines = text.slice(0, at).split("\n");
      text = text.slice(at + 2);
      const of = (name) => lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
      if (of("event")) take(of("event"), JSON.parse(of("data")));
    }
  }
}
