// SPDX-License-Identifier: GPL-3.0-or-later
// Removals that the brake holds, with a decision; and what was removed and can come back.

import { call } from "/page/api.js";
import { action, ask, count, h, moment, section, shown, size, table, tell } from "/page/dom.js";
import { live } from "/page/live.js";
import { volume_choice, volume_of } from "/page/parts.js";

export function removals(body, words) {
  const held = h("div");
  const [volume] = words;
  const choose = volume_choice("removals", volume);
  const trash = h("div");
  body.append(section("Held", h("p", { class: "faint" }, "Another device removed very many files. They stay here until you decide."), held), section("Removed, and kept for a while", choose, trash));
  if (volume) list(volume, trash);
  let known = null;
  return (kind) => {
    if (kind === "leave") return;
    choose.refresh();
    if (!volume) volume_of("removals", words);
    const found = live.status.volumes.filter((one) => one.held_files + one.held_directories).map((one) => [one.volume.name, one.held_files, one.held_directories]);
    if (JSON.stringify(found) === known) return;
    known = JSON.stringify(found);
    hold(held, found.map(([name]) => name));
  };
}

async function hold(place, names) {
  const parts = await Promise.all(names.map(async (name) => {
    try {
      return held_of(name, await call("Brake", { volume: name }));
    } catch (error) {
      return h("p", { class: "problem" }, error.message);
    }
  }));
  const had_focus = place.contains(document.activeElement);
  place.replaceChildren(...(parts.length ? parts : [h("p", { class: "good" }, "Nothing is held.")]));
  if (had_focus) document.getElementById("main").focus();
}

function held_of(name, brake) {
  const what = `${count(brake.held_files, "file")}${brake.held_directories ? ` and ${count(brake.held_directories, "folder")}` : ""}`;
  return h("div", {}, h("h3", {}, shown(name)),
    h("p", {}, `${what}, removed by ${brake.held_by.map(shown).join(", ") || "another device"}, held since `, moment(brake.held_since_ms), "."),
    h("ol", { class: "list path", tabindex: "0", role: "region", "aria-label": `Held files of ${shown(name)}` }, brake.paths.map((path) => h("li", {}, shown(path)))),
    brake.more.paths || brake.held_files + brake.held_directories > brake.paths.length ? h("p", { class: "faint" }, "Not all of them are listed.") : "",
    h("p", { class: "buttons" },
      action("Keep them", () => decide(name, "refuse", `All of ${shown(name)} stays, on every device.`), { class: "main", "aria-label": `Keep them: the held files of ${shown(name)}` }),
      action("Remove them here, too", async () => {
        if (await ask("Remove them here, too?", `${what} of ${shown(name)} go from this device. They stay in its trash for as long as that is kept.`, "Remove them")) {
          await decide(name, "accept", "They are removed here, too.");
        }
      }, { "aria-label": `Remove them here, too: the held files of ${shown(name)}` })));
}

async function decide(volume, act, done) {
  await call("Brake", { volume, act });
  tell(done);
}

async function list(volume, place) {
  let reply;
  try {
    reply = await call("ListTrash", { volume });
  } catch (error) {
    place.replaceChildren(h("p", { class: "problem" }, error.message));
    return;
  }
  const rows = reply.items.map((item) => [
    h("span", { class: "path" }, shown(item.path)), item.kind === "directory" ? `folder, ${count(item.files, "file")}` : item.kind, size(item.bytes), moment(item.removed_ms),
    item.taken ? h("span", { class: "faint" }, "its name is taken") : action("Restore", () => restore(volume, item.path, place), { "aria-label": `Restore ${shown(item.path)}` }),
  ]);
  place.replaceChildren(rows.length ? table(`${count(rows.length, "item")}${reply.more.items ? `, and ${reply.more.items.toLocaleString()} older` : ""}`, ["Path", "What", "Size", "Removed", ""], rows)
    : h("p", {}, "The trash is empty."));
}

async function restore(volume, path, place) {
  const { steps } = await call("Restore", { volume, path, from_trash: true });
  const missing = steps.find((step) => step.what === "missing");
  tell(missing ? `${shown(missing.path)}: ${shown(missing.why)}` : "It is back, on all devices.");
  await list(volume, place);
}
