// SPDX-License-Identifier: GPL-3.0-or-later
// Content of files on the page: pictures, text, and two texts compared.

import { h, shown } from "/page/dom.js";

const MOST_LINES = 2000;
const MOST_CELLS = 4_000_000;

/** Content as an element. A person can scroll it with the keyboard. */
export function content_of(found, name, compared = null) {
  const inner = found.kind === "picture" ? picture(found.picture, name)
    : found.kind === "text" ? h("pre", {}, compared ?? found.text) : h("p", { class: "faint" }, WORDS[found.kind] ?? WORDS.other);
  return h("div", { class: "content", tabindex: "0", role: "region", "aria-label": `Content of ${shown(name)}` }, inner,
    found.is_cut ? h("p", { class: "faint" }, "Only the beginning is shown.") : null);
}

const WORDS = {
  other: "Neither text nor a picture: save it to look at it.",
  large: "This picture is too large to be shown here: save it to look at it.",
};

function picture(source, name) {
  const image = h("img", { src: source, alt: `Picture ${shown(name)}` });
  image.addEventListener("load", () => URL.revokeObjectURL(source), { once: true });
  const about = h("figcaption", { class: "faint" });
  image.addEventListener("load", () => { about.textContent = `${image.naturalWidth} × ${image.naturalHeight} pixels`; }, { once: true });
  const figure = h("figure", {}, image, about);
  image.addEventListener("error", () => figure.replaceWith(h("p", { class: "faint" }, "The browser cannot show this picture.")), { once: true });
  return figure;
}

/** Lines of a text, marked as they differ from another one; null where the two are too long to compare. */
export function differences(before, after) {
  const [one, two] = [before.split("\n"), after.split("\n")];
  let start = 0;
  while (start < one.length && start < two.length && one[start] === two[start]) start++;
  let end = 0;
  while (end < one.length - start && end < two.length - start && one.at(-1 - end) === two.at(-1 - end)) end++;
  const [left, right] = [one.slice(start, one.length - end), two.slice(start, two.length - end)];
  if (left.length * right.length > MOST_CELLS || two.length > MOST_LINES) return null;
  const same = (text) => h("span", { class: "same" }, text || " ");
  return [...one.slice(0, start).map(same), ...middle(left, right, same), ...(end ? one.slice(-end).map(same) : [])];
}

/** By the longest common subsequence of lines. */
function middle(left, right, same) {
  const width = right.length + 1;
  const lengths = new Uint32Array((left.length + 1) * width);
  for (let i = left.length - 1; i >= 0; i--) {
    for (let j = right.length - 1; j >= 0; j--) {
      lengths[i * width + j] = left[i] === right[j] ? lengths[(i + 1) * width + j + 1] + 1
        : Math.max(lengths[(i + 1) * width + j], lengths[i * width + j + 1]);
    }
  }
  const found = [];
  let [i, j] = [0, 0];
  while (i < left.length || j < right.length) {
    if (i < left.length && j < right.length && left[i] === right[j]) {
      found.push(same(left[i]));
      i++;
      j++;
    } else if (j >= right.length || (i < left.length && lengths[(i + 1) * width + j] >= lengths[i * width + j + 1])) {
      found.push(h("del", {}, left[i++] || " "));
    } else {
      found.push(h("ins", {}, right[j++] || " "));
    }
  }
  return found;
}
