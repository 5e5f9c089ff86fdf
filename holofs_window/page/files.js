// SPDX-License-Identifier: GPL-3.0-or-later
// Files of a volume: its folders, and of a file its content, its history, and a way back.

import { call, preview, save } from "/page/api.js";
import { action, address, h, moment, section, shown, size, table, tell } from "/page/dom.js";
import { live } from "/page/live.js";
import { volume_choice, volume_of } from "/page/parts.js";
import { content_of } from "/page/content.js";

export function files(body, words, title) {
  const [volume, ...path] = words;
  const choose = volume_choice("files", volume);
  const listing = h("div");
  const detail = h("div", { tabindex: "-1" });
  body.append(choose);
  if (volume) {
    title(`Files of ${shown(volume)}`);
    body.append(crumbs(volume, path), listing, detail);
    list(volume, path.join("/"), listing, detail);
  }
  return (kind) => {
    if (kind === "leave") return;
    choose.refresh();
    if (!volume) volume_of("files", words);
    const newest = live.events[0];
    if (kind === "event" && newest?.volume === volume && folder_of(newest.path) === path.join("/")) listing.querySelector("[data-new]")?.removeAttribute("hidden");
  };
}

const folder_of = (path) => path.includes("/") ? path.slice(0, path.lastIndexOf("/")) : "";

function crumbs(volume, path) {
  const names = [shown(volume), ...path.map(shown)];
  return h("nav", { "aria-label": "Folders above" }, h("ol", { class: "crumbs" }, names.map((name, number) => h("li", {}, number === path.length
    ? h("span", { "aria-current": "location" }, name) : h("a", { href: address("files", volume, ...path.slice(0, number)) }, name)))));
}

async function list(volume, path, place, detail, before = []) {
  let reply;
  try {
    reply = await call("ListFolder", { volume, path, after: before.at(-1)?.name ?? "" });
  } catch (error) {
    place.replaceChildren(h("p", { class: "problem" }, error.message));
    return;
  }
  const entries = [...before, ...reply.entries];
  const again = () => list(volume, path, place, detail);
  const rows = entries.map((entry) => row(volume, path, entry, detail));
  const focused = place.contains(document.activeElement);
  place.replaceChildren(
    h("p", { hidden: true, "data-new": true }, "Something changed here. ", action("Show it", again)),
    entries.length ? table(`${entries.length.toLocaleString()} ${entries.length === 1 ? "name" : "names"}${reply.complete ? "" : ", and more"}`, ["Name", "Size", "Changed", ""], rows)
      : h("p", {}, "This folder is empty."),
    reply.complete ? "" : h("p", {}, action("Show more", () => list(volume, path, place, detail, entries))));
  if (focused) place.querySelectorAll("tbody a, tbody button")[before.length]?.focus();
}

const joined = (path, name) => path ? `${path}/${name}` : name;

function row(volume, path, entry, detail) {
  const full = joined(path, entry.name);
  const name = shown(entry.name);
  const is_folder = entry.kind === "directory";
  const label = is_folder ? h("a", { href: address("files", volume, ...full.split("/")) }, name, "/") : h("span", {}, name);
  const notes = [entry.copy ? "conflict copy" : "", entry.here || is_folder ? "" : "on another device", entry.writing ? "being written" : "", entry.kind === "symlink" ? "symlink" : ""].filter(Boolean).join(", ");
  const buttons = is_folder ? "" : h("span", { class: "buttons" },
    action("Show", () => show(volume, full, detail), { "aria-label": `Show ${name}` }),
    action("History", () => history(volume, full, detail), { "aria-label": `History of ${name}` }),
    entry.kind === "file" ? action("Save", () => save(volume, full), { "aria-label": `Save ${name}` }) : "");
  return [[label, notes ? h("span", { class: "faint" }, ` ${notes}`) : ""], is_folder ? "" : size(entry.size), moment(Math.floor(entry.mtime_ns / 1e6)), buttons];
}

async function show(volume, path, detail) {
  const found = content_of(await preview({ volume, path }), path);
  detail.replaceChildren(section(shown(path), found));
  detail.focus();
}

async function history(volume, path, detail) {
  const reply = await call("History", { volume, path });
  const rows = reply.versions.map((version) => [
    moment(version.written_ms), size(version.size), shown(version.device || "-"),
    version.replaced_ms ? ["until ", moment(version.replaced_ms)] : version.shown ? "now" : "beside it",
    version.replaced_ms ? action(version.here ? "Restore" : "Fetch and restore", () => restore(volume, path, version.id, detail), { "aria-label": `${version.here ? "Restore" : "Fetch and restore"} the version of ${new Date(version.written_ms).toLocaleString()}` }) : "",
  ]);
  detail.replaceChildren(section(`History of ${shown(path)}`,
    reply.taken ? h("p", {}, "Something of another kind has this name now: `holofsctl restore --to` brings it back elsewhere.") : "",
    table(`${rows.length} kept`, ["Written", "Size", "By", "Shown", ""], rows)));
  detail.focus();
}

async function restore(volume, path, version, detail) {
  const { steps } = await call("Restore", { volume, path, version });
  const missing = steps.find((step) => step.what === "missing");
  tell(missing ? shown(missing.why) : steps.some((step) => step.what === "restored") ? "It is back, on all devices." : "It is so already.");
  await history(volume, path, detail);
}
