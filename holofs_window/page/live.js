// SPDX-License-Identifier: GPL-3.0-or-later
// The state of the device as the daemon tells it, for all parts of the page.

import { follow } from "/page/api.js";

const MOST_EVENTS = 60;
const listeners = new Set();

export const live = { status: null, peers: [], events: [], failed: "", rates: {}, coming: new Map() };

/** Calls `listener(kind)` after each message, until the function that is given back is called. */
export function listen(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

const inform = (kind) => { for (const listener of [...listeners]) listener(kind); };

function take(kind, data) {
  if (kind === "state") {
    note_rates(live.status, data.status);
    Object.assign(live, data, { failed: "" });
  } else if (kind === "failed") {
    live.failed = data.message;
  } else if (data.kind !== "begin" && data.kind !== "missed") {
    live.events = [data, ...live.events].slice(0, MOST_EVENTS);
  }
  inform(kind);
}

/** Bytes of content a second that came, by volume: from how much less is missing than before. */
let looked = 0;
function note_rates(before, now) {
  const seconds = (Date.now() - looked) / 1000;
  looked = Date.now();
  for (const volume of now.volumes) {
    const id = volume.volume.id;
    const last = before?.volumes.find((found) => found.volume.id === id);
    const less = last ? last.content_missing_bytes - volume.content_missing_bytes : 0;
    live.coming.set(id, less > 0 && seconds > 0 ? less / seconds : 0);
  }
}

/** Follows the daemon until the session is over. */
export async function keep_up() {
  for (;;) {
    try {
      await follow(take);
    } catch (error) {
      live.failed = error.message;
      inform("failed");
      if (error.code === "http-401" || error.code === "gone") return;
    }
    await new Promise((resolve) => setTimeout(resolve, 1500));
  }
}
