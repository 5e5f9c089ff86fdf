// SPDX-License-Identifier: GPL-3.0-or-later
// Elements, and texts for people. Texts of others become text nodes, never markup.

const SVG = "http://www.w3.org/2000/svg";

function filled(element, options, children) {
  for (const [name, value] of Object.entries(options)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

/** An HTML element: `on...` are listeners, other options attributes. */
export const h = (name, options = {}, ...children) => filled(document.createElement(name), options, children);

/** An SVG element. */
export const s = (name, options = {}, ...children) => filled(document.createElementNS(SVG, name), options, children);

let count_of_ids = 0;
export const fresh_id = () => `id-${++count_of_ids}`;

/** A field with its label and, below it, what it is for. */
export function field(label, control, help = "") {
  control.id ||= fresh_id();
  const about = help ? h("span", { class: "faint", id: fresh_id() }, help) : null;
  if (about) control.setAttribute("aria-describedby", about.id);
  return h("div", { class: "field" }, h("label", { for: control.id }, label), control, about ? h("br") : null, about);
}

export function choice(values, chosen, options = {}) {
  const made = h("select", options, values.map(([value, text]) => h("option", { value }, text)));
  made.value = chosen;
  return made;
}

/** A form whose button may be pressed once at a time. */
export function form(content, button, act) {
  const submit = h("button", { class: "main" }, button);
  const made = h("form", { novalidate: true, onsubmit: async (event) => {
    event.preventDefault();
    await busy(submit, () => act(made));
  } }, content, h("p", { class: "buttons" }, submit));
  return made;
}

/** A button that runs something that takes time. */
export function action(text, act, options = {}) {
  const made = h("button", { type: "button", ...options, onclick: () => busy(made, act) }, text);
  return made;
}

async function busy(button, act) {
  if (button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true");
  try {
    await act();
  } catch (error) {
    tell(error.message);
  } finally {
    button.removeAttribute("aria-disabled");
  }
}

/** A table that stays one for screen readers where its rows become paragraphs on a narrow page. */
export function table(caption, columns, rows) {
  return h("table", { role: "table" },
    h("caption", {}, caption),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, columns.map((name) =>
      h("th", { role: "columnheader", scope: "col" }, name || h("span", { class: "hidden" }, "Actions"))))),
    h("tbody", { role: "rowgroup" }, rows.map((cells) => h("tr", { role: "row" }, cells.map((cell, number) => number
      ? h("td", { role: "cell", "data-label": columns[number] }, cell)
      : h("th", { role: "rowheader", scope: "row" }, cell))))));
}

export const section = (title, ...children) => {
  const heading = h("h2", { id: fresh_id() }, title);
  return h("section", { "aria-labelledby": heading.id }, heading, ...children);
};

/** Says something to a person, by eye and by ear; it goes after a while. */
let ends = 0;
export function tell(text) {
  const place = document.getElementById("told");
  place.replaceChildren(text);
  clearTimeout(ends);
  ends = setTimeout(() => place.replaceChildren(), 9000);
}

/** Asks before something that cannot be taken back. True if it is to be done. */
export function ask(title, text, yes) {
  const dialog = document.getElementById("ask");
  document.getElementById("ask-title").textContent = title;
  document.getElementById("ask-text").textContent = text;
  document.getElementById("ask-yes").textContent = yes;
  return new Promise((resolve) => {
    const end = (answer) => () => { dialog.returnValue = answer; dialog.close(); };
    document.getElementById("ask-no").onclick = end("");
    document.getElementById("ask-yes").onclick = end("yes");
    dialog.returnValue = "";
    dialog.onclose = () => resolve(dialog.returnValue === "yes");
    dialog.showModal();
    document.getElementById("ask-no").focus();
  });
}

// ---- texts
export const count = (number, what) => `${Number(number).toLocaleString()} ${what}${number === 1 ? "" : "s"}`;

export function size(bytes) {
  if (bytes < 1024) return count(bytes, "byte");
  let value = bytes;
  for (const unit of ["KiB", "MiB", "GiB", "TiB"]) {
    value /= 1024;
    if (value < 1024 || unit === "TiB") return `${value < 100 ? value.toFixed(1) : Math.round(value).toLocaleString()} ${unit}`;
  }
  return "";
}

const DAY = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const CLOCK = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

export function time_left(seconds) {
  if (seconds < 90) return count(Math.ceil(seconds), "second");
  return seconds < 5400 ? count(Math.round(seconds / 60), "minute") : count(Math.round(seconds / 3600), "hour");
}

export function moment(ms) {
  if (!ms) return "never";
  const then = new Date(ms);
  const told = then.toDateString() === new Date().toDateString() ? CLOCK.format(then) : DAY.format(then);
  return h("time", { datetime: then.toISOString() }, told);
}

/** A name or path as a person may see it: control characters and bytes that are no text are shown as such. */
export const shown = (text) => text.replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]/gu,
  (found) => found.codePointAt(0) >= 0xdc80 ? `\\x${(found.codePointAt(0) - 0xdc00).toString(16)}` : `\\u${found.codePointAt(0).toString(16).padStart(4, "0")}`);

export const device_of = (device) => shown(device.name || device.device_id.slice(0, 8));

// ---- addresses within the page
const LONE = /[\ud800-\udfff~]/gu;

/** A path as part of an address; halves of characters, which stand for bytes that are no text, are kept. */
export const packed = (text) => encodeURIComponent(text.replace(LONE, (found) => `~${found.charCodeAt(0).toString(16).padStart(4, "0")}`));
export const unpacked = (text) => decodeURIComponent(text).replace(/~([0-9a-f]{4})/g, (_, digits) => String.fromCharCode(parseInt(digits, 16)));
export const address = (...parts) => `#/${parts.map(packed).join("/")}`;
