// SPDX-License-Identifier: GPL-3.0-or-later
// What several parts of the page use.

import { address, choice, field, fresh_id, h, shown } from "/page/dom.js";
import { live } from "/page/live.js";

/** A region that is made anew when what it shows changed, and only then; the focus stays where it was. */
export function region(make) {
  const place = h("div");
  let last = "";
  place.refresh = (data) => {
    const now = JSON.stringify(data);
    if (now === last) return;
    last = now;
    const mark = place.contains(document.activeElement) ? document.activeElement.dataset.mark : null;
    place.replaceChildren(...[make(data)].flat(Infinity).filter(Boolean));
    if (mark) place.querySelector(`[data-mark="${CSS.escape(mark)}"]`)?.focus();
  };
  return place;
}

export const ready_volumes = () => (live.status?.volumes ?? []).filter((one) => one.volume.state === "ready");

/** A choice of volumes that leads to the part for the one that is chosen. */
export function volume_choice(part, chosen) {
  const place = h("div", { class: "field" });
  return Object.assign(place, { refresh: () => {
    const names = ready_volumes().map((one) => one.volume.name);
    const now = JSON.stringify([names, chosen]);
    if (place.dataset.names === now) return;
    place.dataset.names = now;
    if (!names.length) return place.replaceChildren("There is no volume yet: the overview makes one.");
    const made = choice(names.map((name) => [name, shown(name)]), chosen, {
      id: fresh_id(), onchange: () => { location.hash = address(part, made.value); } });
    place.replaceChildren(h("label", { for: made.id }, "Volume"), made);
  } });
}

/** The volume that the address names, else the first one; goes there. Null while there is none. */
export function volume_of(part, words) {
  if (words.length) return words[0];
  const first = ready_volumes()[0];
  if (first) location.replace(address(part, first.volume.name));
  return null;
}

export const number_field = (label, options, help = "") => field(label, h("input", { type: "number", min: "0", inputmode: "numeric", ...options }), help);
