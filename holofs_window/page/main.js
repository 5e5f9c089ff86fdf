// SPDX-License-Identifier: GPL-3.0-or-later
// The frame of the page: its parts, which of them is shown, and what is told about all of them.

import { end } from "/page/api.js";
import { address, h, shown, tell, unpacked } from "/page/dom.js";
import { keep_up, listen, live } from "/page/live.js";
import { conflicts } from "/page/conflicts.js";
import { files } from "/page/files.js";
import { overview } from "/page/overview.js";
import { removals } from "/page/removals.js";
import { settings } from "/page/settings.js";
import { sharing } from "/page/sharing.js";
import { transfers } from "/page/transfers.js";

const PARTS = [
  ["", "Overview", overview], ["files", "Files", files], ["transfers", "Transfers", transfers],
  ["conflicts", "Conflicts", conflicts], ["removals", "Removals", removals],
  ["sharing", "Sharing", sharing], ["settings", "Settings", settings],
];
const main = document.getElementById("main");
let leave = () => {};

/** What the address says: the part, and the words after it. */
function place() {
  const [name = "", ...rest] = location.hash.replace(/^#?\/?/, "").split("/");
  const part = PARTS.find(([known]) => known === name) ?? PARTS[0];
  try {
    return { part, words: rest.filter(Boolean).map(unpacked) };
  } catch {
    return { part: PARTS[0], words: [] };
  }
}

/** Shows the part that the address says. A part gives its title, its elements and, by `update`, what follows changes. */
function show(is_first) {
  const { part: [name, title, make], words } = place();
  leave();
  for (const link of document.querySelectorAll("#parts a")) {
    if (link.dataset.part === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const heading = h("h1", { tabindex: "-1" }, title);
  const body = h("div");
  main.replaceChildren(heading, body);
  document.title = `${title} – HoloFS`;
  const update = make(body, words, (text) => { heading.textContent = text; document.title = `${text} – HoloFS`; }) ?? (() => {});
  const follow = (kind) => { if (live.status) update(kind); };
  const stop = listen(follow);
  follow("state");
  leave = () => { stop(); update("leave"); };
  if (!is_first) heading.focus();
}

function stand() {
  const standing = document.getElementById("standing");
  const text = live.failed || (live.status ? "" : "Asking the daemon…");
  if (standing.textContent !== text) standing.textContent = text;
  standing.classList.toggle("failed", Boolean(live.failed));
  if (live.status) document.getElementById("device").textContent = shown(live.status.device_name);
}

document.getElementById("parts").append(...PARTS.map(([name, title]) =>
  h("li", {}, h("a", { href: name ? address(name) : "#/", "data-part": name }, title))));
document.getElementById("skip").addEventListener("click", () => main.focus());
document.getElementById("end").addEventListener("click", async () => {
  try {
    await end();
  } catch (error) {
    tell(error.message);
  }
  leave();
  leave = () => {};
  main.replaceChildren(h("h1", {}, "The window is closed"), h("p", {}, "You can close this page. `holofsctl ui` opens another one."));
});
addEventListener("hashchange", () => show(false));
listen(stand);
stand();
show(true);
keep_up();
