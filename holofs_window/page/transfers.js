// SPDX-License-Identifier: GPL-3.0-or-later
// Transfers: what is on its way to this device, and from it, how fast, and what stays here by rules.

import { count, h, moment, section, shown, size, table } from "/page/dom.js";
import { live } from "/page/live.js";
import { region } from "/page/parts.js";
import { ignored, traffic } from "/page/traffic.js";

export function transfers(body) {
  const place = region((volumes) => volumes.map(volume_of));
  const parts = [traffic(), ignored()];
  body.append(parts[0].element, place, parts[1].element);
  return (kind) => {
    if (kind === "leave") return;
    for (const part of parts) part.refresh();
    place.refresh(live.status.volumes);
  };
}

function volume_of(one) {
  if (one.volume.state !== "ready") return section(shown(one.volume.name), h("p", {}, `${one.volume.state}. ${shown(one.volume.explanation)}`));
  return section(shown(one.volume.name), h("h3", {}, "To this device"), coming(one), h("h3", {}, "From this device"), going(one));
}

function coming(one) {
  const found = [];
  if (one.records_behind) found.push(h("p", {}, `${count(one.records_behind, "change")} known to other devices, on the way.`));
  if (one.content_missing) {
    const missing = one.content_missing_bytes - one.content_arrived_bytes;
    const here = Math.max(one.bytes - missing, 0);
    found.push(h("p", {}, `Content of ${size(missing)} in ${count(one.content_missing, "piece")} is not here yet.`),
      h("progress", { max: Math.max(one.bytes, 1), value: here, "aria-label": `Content of ${shown(one.volume.name)} that is here` }));
  }
  if (one.unavailable.length) found.push(table("Cannot be had now", ["File", "Size", "Why"], one.unavailable.map((item) => [h("span", { class: "path" }, shown(item.path) || "(no path)"), size(item.size), shown(item.why)])));
  return found.length ? found : h("p", { class: "good" }, "Everything is here.");
}

function going(one) {
  const waiting = one.unpublished + one.unsealed;
  const told = waiting ? h("p", {}, `${count(waiting, "change")} of this device to be told to others.`) : null;
  const others = one.devices.filter((device) => !device.left);
  if (!others.length) return [told, h("p", {}, "No other device has this volume.")];
  return [told, table("Other devices", ["Device", "State", "As it said at"], others.map((device) => [
    shown(device.name || device.device_id.slice(0, 8)),
    holding(device),
    moment(device.complete_as_of_ms),
  ]))];
}

// What a device lacks of all that is known here. Without figures it does not say what it holds, and 0 would be a statement.
function holding(device) {
  const lacking = device.to_send;
  if (!lacking) return device.complete ? h("span", { class: "good" }, "has everything") : "how much it lacks is not known";
  if (!lacking.files && !lacking.others && !lacking.more) {
    return device.complete ? h("span", { class: "good" }, "has everything") : `${device.connected ? "" : "not connected; "}not complete yet`;
  }
  const told = [lacking.files ? count(lacking.files, "file") : "", lacking.bytes ? size(lacking.bytes - lacking.sent_bytes) : "", lacking.others ? count(lacking.others, "other change") : ""].filter(Boolean);
  return `${device.connected ? "" : "not connected; "}${lacking.percent === null ? "" : `${lacking.percent} %, `}${lacking.more ? "at least " : ""}${told.join(", ")} to go`;
}
