// SPDX-License-Identifier: GPL-3.0-or-later
// How fast this device sends and fetches, its limits and pauses; and what stays on it by rules.

import { call } from "/page/api.js";
import { action, address, choice, count, device_of, field, form, h, moment, section, shown, size, table, tell, time_left } from "/page/dom.js";
import { live } from "/page/live.js";
import { region } from "/page/parts.js";

const MOST_SHOWN = 200;
const TIMES = [["0", "until I resume it"], ["1800", "for 30 minutes"], ["7200", "for 2 hours"], ["28800", "for 8 hours"], ["86400", "for a day"]];

const speed = (rate, left = 0) => rate ? `${size(rate)} a second${left ? `, about ${time_left(left)} left` : ""}` : "nothing now";
const limited = (rate) => rate ? `at most ${size(rate)} a second` : "without a limit";
const target_of = (pause) => pause.volume ? { volume: pause.volume } : pause.device_id ? { device: pause.device_id } : {};

/** What is paused and until when, in words. */
export const paused = (pause) => [
  pause.volume ? shown(pause.volume) : pause.device_id ? `The traffic with ${device_of({ name: pause.device, device_id: pause.device_id })}` : "Everything",
  " is paused", pause.until_ms ? [" until ", moment(pause.until_ms)] : ""];

export function traffic() {
  const [rates, limits, pauses, begin] = [region(rates_of), region(limits_of), region(pauses_of), region(pause_form)];
  const element = section("Sending and fetching", rates, limits, pauses, begin);
  return { element, refresh: () => {
    const { status, peers } = live;
    rates.refresh({ network: status.network, peers: peers.map(({ device_id, name, connected, sending, receiving, seconds_left }) => ({ device_id, name, connected, sending, receiving, seconds_left })) });
    limits.refresh({ ...status.traffic, pauses: [] });
    pauses.refresh(status.traffic.pauses);
    begin.refresh({ volumes: status.volumes.map((one) => one.volume.name), peers: peers.map(({ device_id, name }) => ({ device_id, name })) });
  } };
}

function rates_of({ network, peers }) {
  return [h("p", {}, `In all: sending ${speed(network.sending)}, fetching ${speed(network.receiving, network.seconds_left)}.`),
    peers.length ? table("With each device", ["Device", "Sending", "Fetching"], peers.map((peer) => [
      device_of(peer), ...(peer.connected ? [speed(peer.sending, peer.seconds_left), speed(peer.receiving)] : ["not connected", "not connected"])])) : null];
}

function limits_of(now) {
  const more = [now.changes_ms ? [" The timetable changes that at ", moment(now.changes_ms), "."] : "",
    now.lan_exempt ? " Devices in the local network are not limited." : "",
    now.background_waits ? " The network is metered: what no program reads is fetched later." : ""];
  return h("p", {}, `Limits: sending ${limited(now.up)}, fetching ${limited(now.down)}.`, more, " ",
    h("a", { href: address("settings"), "data-mark": "limits" }, "Change the limits"), " (limit.up, limit.down, limit.timetable).");
}

function pauses_of(pauses) {
  if (!pauses.length) return h("p", { class: "faint" }, "Nothing is paused.");
  return h("ul", { class: "needs" }, pauses.map((pause) => h("li", {}, paused(pause), ". ",
    action("Resume", async () => {
      await call("Resume", target_of(pause));
      tell("It goes on.");
    }, { "aria-label": `Resume: ${paused(pause)[0]}`, "data-mark": `r-${pause.volume}-${pause.device_id}` }))));
}

function pause_form({ volumes, peers }) {
  const targets = [["{}", "Everything"], ...volumes.map((name) => [JSON.stringify({ volume: name }), `The volume ${shown(name)}`]),
    ...peers.map((peer) => [JSON.stringify({ device: peer.device_id }), `The traffic with ${device_of(peer)}`])];
  const [what, long] = [choice(targets, "{}"), choice(TIMES, "0")];
  return h("details", {}, h("summary", { "data-mark": "pause" }, "Pause something"),
    form(h("div", { class: "row" }, field("What", what), field("For how long", long)), "Pause", async () => {
      await call("Pause", { ...JSON.parse(what.value), for_seconds: Number(long.value) });
      tell("It is paused. Files go on working; what you change is sent later.");
    }));
}

/** What rules keep on this device, of each volume that has some. The lists are asked for when a person opens them. */
export function ignored() {
  const element = section("Ignored: on this device only");
  const heading = element.firstChild;
  const lists = new Map();
  return { element, refresh: () => {
    const volumes = live.status.volumes.filter((one) => one.ignored);
    element.hidden = !volumes.length;
    for (const one of volumes) {
      if (!lists.has(one.volume.id)) lists.set(one.volume.id, list_of(one));
      lists.get(one.volume.id).refresh(one);
    }
    const wanted = volumes.map((one) => lists.get(one.volume.id).element);
    if (wanted.length !== element.children.length - 1 || wanted.some((list, number) => element.children[number + 1] !== list)) element.replaceChildren(heading, ...wanted);
  } };
}

function list_of({ volume }) {
  const summary = h("summary");
  const place = h("div");
  const element = h("details", { ontoggle: () => { if (element.open) ask(); } }, summary, place);
  let known = "";
  const ask = async () => {
    try {
      const reply = await call("ListIgnored", { volume: volume.name, limit: MOST_SHOWN });
      place.replaceChildren(table(`Ignored in ${shown(volume.name)}`, ["File or folder", "Size", "Rule"], reply.files.map((one) => [
        h("span", { class: "path" }, `${shown(one.path)}${one.kind === "directory" ? "/" : ""}`), one.kind === "directory" ? "with all in it" : size(one.size),
        one.rule ? h("span", { class: "path" }, shown(one.rule)) : "none any more: it will be published"])),
      reply.complete ? "" : h("p", {}, "More than these are ignored: a rule for a folder keeps the list short."));
    } catch (error) {
      place.replaceChildren(h("p", { class: "problem" }, error.message));
    }
  };
  return { element, refresh: (one) => {
    const now = `${shown(volume.name)}: ${count(one.ignored, "ignored file")}, ${size(one.ignored_bytes)}`;
    if (now === known) return;
    known = now;
    summary.textContent = now;
    if (element.open) ask();
  } };
}
