// SPDX-License-Identifier: GPL-3.0-or-later
// The overview: what needs a person, volumes, devices and how they are connected, mounts, and what happened.

import { call } from "/page/api.js";
import { action, address, count, field, form, h, moment, section, shown, size, tell } from "/page/dom.js";
import { live } from "/page/live.js";
import { devices, map } from "/page/map.js";
import { region } from "/page/parts.js";
import { paused } from "/page/traffic.js";

export function overview(body) {
  const needs = region(needed);
  const volumes = region((data) => h("ul", { class: "cards" }, data.map(card)));
  const others = region(({ status, peers }) => [peers.length ? map(status, peers) : null, devices(status, peers)]);
  const mounts = region(mounted);
  const events = region((found) => found.length ? h("ul", {}, found.map((event) => h("li", {}, moment(event.at_ms), " ", sentence(event))))
    : h("p", { class: "faint" }, "Nothing since this page was opened."));
  body.append(section("What needs you", needs), section("Volumes", volumes, more()), section("Devices", others),
    section("Folders", mounts, mount_form()), section("What happened", events));
  return (kind) => {
    if (kind === "leave") return;
    const { status, peers } = live;
    needs.refresh({ status: status.volumes, warnings: status.warnings, pauses: status.traffic?.pauses ?? [] });
    volumes.refresh(status.volumes);
    others.refresh({ status: { device_name: status.device_name, volumes: status.volumes }, peers });
    mounts.refresh(status.mounts);
    events.refresh(live.events.slice(0, 30));
  };
}

function needed({ status, warnings, pauses }) {
  const found = warnings.map((text) => h("li", {}, shown(text)));
  for (const pause of pauses) {
    found.push(h("li", {}, paused(pause), ": ", h("a", { href: address("transfers"), "data-mark": `p-${pause.volume}-${pause.device_id}` }, "resume it"), "."));
  }
  for (const one of status) {
    const name = one.volume.name;
    if (one.conflicts) found.push(h("li", {}, h("a", { href: address("conflicts"), "data-mark": `c-${name}` }, `${count(one.conflicts, "conflict copy").replace("copys", "copies")} in ${shown(name)}`), ": choose what stays."));
    if (one.held_files + one.held_directories) found.push(h("li", {}, h("a", { href: address("removals"), "data-mark": `h-${name}` }, `${count(one.held_files, "removed file")} of ${shown(name)} held`), ": remove them here too, or keep them."));
    if (one.unavailable.length) found.push(h("li", {}, h("a", { href: address("transfers"), "data-mark": `u-${name}` }, `Some content of ${shown(name)} cannot be had now`), "."));
  }
  return found.length ? h("ul", { class: "needs" }, found) : h("p", { class: "good" }, "Nothing needs you.");
}

/** Where everything that was written here is, in a sentence. */
function safety(one) {
  const others = one.devices.filter((device) => !device.left);
  const complete = others.filter((device) => device.complete).map((device) => shown(device.name || device.device_id.slice(0, 8)));
  const all = one.ignored ? `All of it but ${count(one.ignored, "ignored file")}` : "All of it";
  if (complete.length) return h("p", { class: "good" }, `${all} is on ${complete.slice(0, 4).join(", ")}${complete.length > 4 ? ` and ${complete.length - 4} more` : ""}.`);
  return h("p", {}, others.length ? "Not all of it is on another device yet." : "It is on this device alone.");
}

function card(one) {
  const { volume } = one;
  const is_ready = volume.state === "ready";
  return h("li", { class: "card" }, h("h3", {}, is_ready ? h("a", { href: address("files", volume.name), "data-mark": `f-${volume.id}` }, shown(volume.name)) : shown(volume.name)),
    is_ready ? [h("p", { class: "faint" }, `${count(one.files, "file")}, ${size(one.bytes)}; this device is ${volume.role === "unspecified" ? "not a member" : `a${volume.role === "admin" ? "n" : ""} ${volume.role}`}`), safety(one)]
      : h("p", {}, `${volume.state}. ${shown(volume.explanation)}`),
    is_ready ? h("p", {}, h("a", { href: address("sharing", volume.name), "data-mark": `s-${volume.id}` }, "Share ", h("span", { class: "hidden" }, shown(volume.name)))) : null);
}

function more() {
  const name = h("input", { required: true, autocomplete: "off" });
  const ticket = h("textarea", { rows: 3, required: true, autocomplete: "off", spellcheck: "false" });
  return h("div", { class: "cards" },
    h("details", {}, h("summary", {}, "Make a volume"), form(field("Name of the new volume", name), "Make it", async () => {
      const made = await call("CreateVolume", { name: name.value });
      name.value = "";
      tell(`The volume ${shown(made.name)} is there.`);
    })),
    h("details", {}, h("summary", {}, "Join a volume"), form(field("Ticket", ticket, "From the other device: Sharing there, or `holofsctl share`."), "Join", async () => {
      const { steps } = await call("Join", { ticket: ticket.value });
      ticket.value = "";
      tell(shown(steps.at(-1)?.message || "Joining; the overview shows how far it is."));
    })));
}

function mounted(mounts) {
  if (!mounts.length) return h("p", {}, "No volume is shown as a folder.");
  return h("ul", {}, mounts.map((mount) => h("li", {}, h("span", { class: "path" }, shown(mount.path)), ` shows ${shown(mount.volume)}`,
    mount.read_only ? ", read-only" : "", mount.state === "up" ? " " : `: ${mount.state}. ${shown(mount.explanation)} `,
    action("Take it away", async () => {
      await call("Unmount", { path: mount.path });
      tell("The folder is free.");
    }, { "aria-label": `Take it away: the folder ${shown(mount.path)}`, "data-mark": `m-${mount.path}` }))));
}

function mount_form() {
  const volume = h("input", { autocomplete: "off" });
  const path = h("input", { autocomplete: "off", placeholder: "/home/you/docs" });
  return h("details", {}, h("summary", {}, "Show a volume as a folder"), form([field("Name of the volume", volume), field("Path of the folder", path, "Absolute, of an empty folder of yours.")], "Show it", async () => {
    await call("Mount", { volume: volume.value, path: path.value });
    tell("The folder shows the volume.");
  }));
}

const limit = (rate) => rate ? `at most ${size(rate)} a second` : "without a limit";

function sentence(event) {
  const [path, device, message] = [shown(event.path), shown(event.device), shown(event.message)];
  const traffic = event.volume ? "the volume" : event.device_id ? `the traffic with ${device || event.device_id.slice(0, 8)}` : "everything";
  const by = device ? ` by ${device}` : event.elsewhere ? " by another device" : "";
  const sentences = {
    changed: `${path} changed${by}`, removed: `${path} removed${by}`,
    conflict: `${path} has a conflict copy${by}`, settled: `${path}: the conflict copy${by} is settled`,
    "device-up": `${device} is connected`, "device-down": `${device} is not connected any more`,
    held: `removals${by} are held: ${count(event.files, "file")} now`, released: `fewer removals are held: ${count(event.files, "file")} now`,
    warning: message,
    paused: `${traffic} is paused${event.until_ms ? ` until ${moment(event.until_ms).textContent}` : ""}`,
    resumed: `${traffic} is not paused any more`,
    limits: `fetching ${limit(event.down)}, sending ${limit(event.up)}`,
  };
  return `${event.volume ? `${shown(event.volume)}: ` : ""}${sentences[event.kind] ?? `${event.kind} ${path}${by}`}`;
}
