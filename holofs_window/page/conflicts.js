// SPDX-License-Identifier: GPL-3.0-or-later
// Conflicts: what stands for one name side by side, and a choice that counts on all devices.

import { call, preview } from "/page/api.js";
import { action, h, moment, section, shown, size, tell } from "/page/dom.js";
import { content_of, differences } from "/page/content.js";
import { live } from "/page/live.js";

const MOST_AT_ONCE = 50;

export function conflicts(body) {
  const place = h("div");
  body.append(h("p", { class: "faint" }, "Two devices changed these at the same time. Whatever you choose, the other stays in the history of the file."), place);
  let known = -1;
  return (kind) => {
    if (kind === "leave") return;
    const now = live.status.volumes.reduce((sum, one) => sum + one.conflicts, 0);
    if (now !== known) {
      known = now;
      list(place);
    }
  };
}

async function list(place) {
  let reply;
  try {
    reply = await call("Conflicts");
  } catch (error) {
    place.replaceChildren(h("p", { class: "problem" }, error.message));
    return;
  }
  const names = new Map();
  for (const conflict of reply.conflicts) {
    const at = JSON.stringify([conflict.volume, conflict.shown_path]);
    if (!names.has(at)) names.set(at, { volume: conflict.volume, path: conflict.shown_path, choices: [conflict.shown] });
    names.get(at).choices.push(conflict);
  }
  const found = [...names.values()];
  const had_focus = place.contains(document.activeElement);
  place.replaceChildren(...found.slice(0, MOST_AT_ONCE).map((one) => conflict_of(one)),
    found.length ? "" : h("p", { class: "good", tabindex: "-1" }, "No conflicts."),
    found.length > MOST_AT_ONCE ? h("p", {}, `${(found.length - MOST_AT_ONCE).toLocaleString()} more after these.`) : "");
  if (had_focus) place.querySelector("h2, .good")?.focus();
}

function conflict_of(one) {
  const sides = one.choices.map((choice, number) => side(one, choice, number));
  const places = sides.map(({ place }) => place);
  const compare = action("Compare", async () => {
    const found = await Promise.all(one.choices.map((choice) => preview({ volume: one.volume, path: one.path, id: choice.id })));
    found.forEach((content, number) => {
      const marked = number && found[0].kind === "text" && content.kind === "text" ? differences(found[0].text, content.text) : null;
      places[number].replaceChildren(content_of(content, `${one.path}, ${label_of(number)}`, marked));
    });
  }, { "aria-label": `Compare what stands for ${shown(one.path)}` });
  const made = section(shown(one.path), h("p", { class: "faint" }, `In the volume ${shown(one.volume)}`), h("div", { class: "sides" }, sides.map(({ element }) => element)),
    h("p", { class: "buttons" }, one.choices.every((choice) => choice.kind === "file") ? compare : "",
      action("Keep all of them", () => settle(one, { keep: "both" }), { "aria-label": `Keep all of them: what stands for ${shown(one.path)}, as files of their own` })));
  made.querySelector("h2").tabIndex = -1;
  return made;
}

const label_of = (number) => number ? `copy ${number}` : "what the name shows";

function side(one, choice, number) {
  const place = h("div");
  const element = h("div", {}, h("h3", {}, number ? `Copy ${number}` : "What the name shows"),
    h("p", {}, `By ${shown(choice.device || "an unknown device")}, `, moment(choice.written_ms), `, ${size(choice.size)}`, choice.here ? "" : h("span", { class: "faint" }, ", on another device: fetched when you compare")),
    place, action("Keep this one", () => settle(one, { keep: "id", id: choice.id }), { "aria-label": `Keep this one: ${label_of(number)} of ${shown(one.path)}, by ${shown(choice.device)}` }));
  return { element, place };
}

async function settle(one, how) {
  const { steps } = await call("Resolve", { volume: one.volume, path: one.path, ...how });
  tell(steps[0]?.problem ? shown(steps[0].problem) : `${shown(one.path)} is settled, on all devices.`);
}
