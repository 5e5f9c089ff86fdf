// SPDX-License-Identifier: GPL-3.0-or-later
// The state of the device as the daemon tells it, for all parts of the page.

import { follow } from "/page/api.js";

const MOST_EVENTS = 60;
const listeners = new Set();

export const live = { status: null, peers: [], events: [], failed: "" };

/** Calls `listener(kind)` after each message, until the function that is given back is called. */
export function listen(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

const inform = (kind) => { for (const listener of [...listeners]) listener(kind); };

function take(kind, data) {
  if (kind === "state") {
    Object.assign(live, data, { peers: data.status.peers, failed: "" });
  } else if (kind === "failed") {
    live.failed = data.message;
  } else if (data.kind !== "begin" && data.kind !== "missed") {
    live.events = [data, ...live.events].slice(0, MOST_EVENTS);
  }
  inform(kind);
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
