// SPDX-License-Identifier: GPL-3.0-or-later
// Settings: of the device, each row of the table of settings, and of each volume.

import { call, change, settings as asked } from "/page/api.js";
import { action, choice, field, form, h, section, shown, tell } from "/page/dom.js";
import { number_field, ready_volumes } from "/page/parts.js";

const DAY_S = 86400;

export function settings(body) {
  const [own, all, volumes] = [h("div"), h("div"), h("div")];
  body.append(section("This device", own), section("Settings", all), section("Volumes", volumes));
  name_form(own);
  asked().then((reply) => show(all, reply), (error) => all.replaceChildren(h("p", { class: "problem" }, error.message)));
  let is_listed = false;
  return (kind) => {
    if (kind === "leave" || is_listed) return;
    is_listed = true;
    const found = ready_volumes();
    volumes.replaceChildren(...found.map((one) => volume_of(one.volume.name)));
    if (!found.length) volumes.replaceChildren("There is no volume yet.");
  };
}

async function name_form(place) {
  const input = h("input", { autocomplete: "off" });
  place.append(form(field("Name of this device", input, "Other devices show it."), "Rename it", async () => {
    const reply = await call("DeviceName", { name: input.value });
    tell(`This device is called ${shown(reply.name)}.`);
  }));
  try {
    input.value = (await call("DeviceName")).name;
  } catch (error) {
    tell(error.message);
  }
}

function show(place, reply) {
  place.replaceChildren(
    h("p", { class: "faint" }, "Kept in ", h("span", { class: "path" }, shown(reply.path)), ". An option or a variable of the daemon goes before it."),
    ...reply.problems.map((problem) => h("p", { class: "problem" }, shown(problem))),
    ...reply.settings.map((setting) => setting_of(place, setting)));
}

const text_of = (value) => Array.isArray(value) ? value.join(", ") : String(value);

function setting_of(place, setting) {
  const value = setting.waiting ?? setting.value;
  const control = setting.choices.length ? choice(setting.choices.map((word) => [word, word]), text_of(value))
    : h("input", { value: text_of(value), placeholder: setting.unset, autocomplete: "off", spellcheck: "false" });
  const is_fixed = setting.source === "option" || setting.source === "environment";
  control.disabled = is_fixed;
  const source = is_fixed ? ` It comes from ${setting.where}, which goes before the file.` : setting.source === "default" && setting.waiting === null ? " It is the default." : "";
  const waiting = setting.waiting === null ? "" : ` In use ${setting.applies}; until then: ${text_of(setting.value) || setting.unset}.`;
  const help = `${setting.help[0].toUpperCase()}${setting.help.slice(1)}: ${setting.allowed}. ${setting.more}${source}${waiting}`;
  const set = async (told) => {
    show(place, await change(setting.key, told));
    place.querySelector(`[name="${CSS.escape(setting.key)}"]`)?.focus();
    tell(`${setting.key}: a change is in use ${setting.applies}.`);
  };
  control.name = setting.key;
  const content = field(setting.key, control, help);
  if (is_fixed) return content;
  const made = form(content, "Save", () => set(control.value.trim() || null));
  made.querySelector("button").setAttribute("aria-label", `Save ${setting.key}`);
  made.querySelector(".buttons").append(action("Default", () => set(null), { "aria-label": `Default of ${setting.key}` }));
  return made;
}

function volume_of(name) {
  const place = h("details", {}, h("summary", {}, shown(name)));
  place.addEventListener("toggle", async () => {
    try {
      const [kept, brake] = await Promise.all([call("KeepHistory", { volume: name }), call("Brake", { volume: name })]);
      place.append(history_form(name, kept), brake_form(name, brake));
    } catch (error) {
      place.append(h("p", { class: "problem" }, error.message));
    }
  }, { once: true });
  return place;
}

const days_of = (seconds) => String(Math.round(seconds / DAY_S * 1000) / 1000);

function history_form(volume, kept) {
  const [all, daily] = [number_field("Days with every version", { value: days_of(kept.all_seconds), step: "any" }), number_field("Days with one version a day", { value: days_of(kept.daily_seconds), step: "any" }, "Counted from now, like the others; removed files are kept as long.")];
  return form(h("div", { class: "row" }, all, daily), "Save what history is kept", async () => {
    const days = (place) => Math.round(Number(place.querySelector("input").value) * DAY_S);
    await call("KeepHistory", { volume, all_seconds: days(all), daily_seconds: days(daily) });
    tell("What is older goes from this device.");
  });
}

function brake_form(volume, brake) {
  const [files, percent] = [number_field("Hold removals of more files than", { value: String(brake.files) }), number_field("and of more percent of the volume than", { value: String(brake.percent), max: "100" }, brake.off ? "They are never held now; saving switches it on." : "")];
  return form(h("div", { class: "row" }, files, percent), "Save when removals are held", async () => {
    await call("Brake", { volume, act: "limit", files: Number(files.querySelector("input").value), percent: Number(percent.querySelector("input").value) });
    tell("Removals of more are held from now on.");
  });
}
