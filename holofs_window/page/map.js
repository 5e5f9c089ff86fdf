// SPDX-License-Identifier: GPL-3.0-or-later
// The map: this device in the middle, the others around it, and how each is connected. A table beside it says the same.

import { count, device_of, h, moment, s, shown, table } from "/page/dom.js";

const WIDTH = 720;
const HEIGHT = 400;
const FLAT = 190;
const MOST = 12;

/** How another device is connected: direct, relay or off. */
export const way_of = (peer) => !peer.connected ? "off" : /^(relay:|https?:)/.test(peer.address) ? "relay" : "direct";
const WORDS = { direct: "direct", relay: "through a relay", off: "not connected" };

/** For each volume that a device shares: what it holds of what was written here. */
export function holdings(status, peer) {
  const found = [];
  for (const volume of status.volumes) {
    const device = volume.devices.find((one) => one.device_id === peer.device_id);
    if (!device) continue;
    const text = device.left ? "left" : device.complete ? "has everything"
      : device.records_behind ? `lacks ${count(device.records_behind, "change")}` : "not complete yet";
    found.push({ volume: volume.volume.name, text, complete: device.complete && !device.left });
  }
  return found;
}

const cut = (text, most) => text.length > most ? `${text.slice(0, most - 1)}…` : text;

export function map(status, peers) {
  const drawn = peers.slice(0, MOST);
  const height = drawn.length < 3 ? FLAT : HEIGHT; // one or two others are beside this device
  const [x, y] = [WIDTH / 2, height / 2];
  const places = drawn.map((_, number) => {
    const angle = (2 * Math.PI * number) / drawn.length - Math.PI / 2 + (drawn.length < 3 ? Math.PI / 2 : 0);
    return [x + Math.cos(angle) * (WIDTH / 2 - 105), y + Math.sin(angle) * (height / 2 - 62)];
  });
  const ways = drawn.map((peer, number) => s("line", { class: `way ${way_of(peer)}`, x1: x, y1: y, x2: places[number][0], y2: places[number][1] }));
  const others = drawn.map((peer, number) => other(status, peer, ...places[number], places[number][1] < y - 10));
  const own = s("g", {}, s("circle", { class: "device own", cx: x, cy: y, r: 46 }),
    s("text", { class: "own", x, y: y + 5 }, cut(shown(status.device_name), 11)));
  const title = `Map of devices: ${count(peers.filter((peer) => peer.connected).length, "device")} of ${peers.length} connected to ${shown(status.device_name)}. The table below says the same.`;
  return h("figure", {}, s("svg", { class: "map", viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": title }, ways, own, others),
    h("figcaption", { class: "faint" }, "Solid: direct. Dashed: through a relay. Dotted: not connected.",
      peers.length > MOST ? ` ${count(peers.length - MOST, "device")} more in the table.` : ""));
}

function other(status, peer, x, y, is_above) {
  const found = holdings(status, peer);
  const complete = found.filter((one) => one.complete).length;
  const told = found.length === 0 ? "" : complete === found.length ? "✓ has everything" : `${complete} of ${count(found.length, "volume")} complete`;
  const [name, below] = is_above ? [y - 38, y - 21] : [y + 33, y + 50];
  return s("g", {}, s("circle", { class: `device${peer.connected ? " on" : ""}`, cx: x, cy: y, r: 13 }),
    s("text", { x, y: name }, cut(device_of(peer), 18)), s("text", { class: "small", x, y: below }, told));
}

export function devices(status, peers) {
  if (!peers.length) return h("p", {}, "No other device yet: share a volume, and join it on another computer.");
  return table("Other devices", ["Device", "Connected", "What it has"], peers.map((peer) => [
    device_of(peer),
    [WORDS[way_of(peer)], peer.address ? h("span", { class: "faint" }, ` at ${shown(peer.address)}`) : "",
      peer.connected ? "" : [h("br"), h("span", { class: "faint" }, "seen ", moment(peer.last_seen_ms), peer.explanation ? `; ${shown(peer.explanation)}` : "")]],
    h("ul", { class: "needs-none" }, holdings(status, peer).map((one) => h("li", {}, `${shown(one.volume)}: ${one.text}`))),
  ]));
}
