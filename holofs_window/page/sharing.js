// SPDX-License-Identifier: GPL-3.0-or-later
// Sharing of a volume: its members, a ticket for another device with its QR code, and the invites that are still good.

import { call, share } from "/page/api.js";
import { action, ask, choice, device_of, field, form, h, moment, s, section, shown, table, tell } from "/page/dom.js";
import { live } from "/page/live.js";
import { number_field, volume_choice, volume_of } from "/page/parts.js";

const ROLES = [["reader", "Reader: sees everything"], ["writer", "Writer: changes it, too"], ["admin", "Admin: also invites and removes"]];

export function sharing(body, words, title) {
  const [volume] = words;
  const choose = volume_choice("sharing", volume);
  body.append(choose);
  const [members, invites] = [h("div"), h("div")];
  if (volume) {
    title(`Sharing of ${shown(volume)}`);
    body.append(section("Members", members), section("A ticket for another device", ticket_form(volume, invites)), section("Invites that are still good", invites));
    list_invites(volume, invites);
  }
  let known = "";
  return (kind) => {
    if (kind === "leave") return;
    choose.refresh();
    if (!volume) return void volume_of("sharing", words);
    const one = live.status.volumes.find((found) => found.volume.name === volume);
    const now = JSON.stringify(one?.devices.map((device) => [device.device_id, device.name, device.connected, device.left]));
    if (now === known || members.contains(document.activeElement)) return;  // or a person is choosing
    known = now;
    list_members(volume, members);
  };
}

/** Shows an error in the place of what could not be had. */
async function into(place, make) {
  try {
    place.replaceChildren(await make());
  } catch (error) {
    place.replaceChildren(h("p", { class: "problem" }, error.message));
  }
}

const list_members = (volume, place) => into(place, async () => {
  const reply = await call("Members", { volume });
  return table("Devices that have the volume", ["Device", "Role", "Connected", ""], reply.members.map((member) => {
    const name = device_of(member);
    const standing = member.removed ? "removed" : member.is_self ? "this device" : member.left ? "left" : member.connected ? "connected" : "not connected";
    if (member.removed || member.is_self) return [name, member.removed ? "none" : member.role, standing, ""];
    const role = choice(ROLES.map(([value]) => [value, value]), member.role, { "aria-label": `Role of ${name}`, onchange: async () => {
      try {
        await call("SetMember", { volume, device: member.device_id, role: role.value });
        tell(`${name} is ${role.value} now.`);
      } catch (error) {
        role.value = member.role;
        tell(error.message);
      }
    } });
    const remove = action("Remove", async () => {
      if (!await ask(`Remove ${name}?`, "The other devices send it nothing more, and ignore what it writes from now on. What it has, it can keep: that cannot be taken back.", "Remove it")) return;
      await call("SetMember", { volume, device: member.device_id, remove: true });
      tell(`${name} is no member any more.`);
      document.getElementById("main").focus();
      await list_members(volume, place);
    }, { "aria-label": `Remove ${name}` });
    return [name, role, standing, remove];
  }));
});

function ticket_form(volume, invites) {
  const role = choice(ROLES, "writer");
  const uses = number_field("How often it is good", { value: "1", max: "1000" }, "0: any number of times.");
  const hours = number_field("For how many hours", { value: "24", max: "87600" }, "0: for ever.");
  const made = h("div", { tabindex: "-1" });
  const [uses_input, hours_input] = [uses, hours].map((one) => one.querySelector("input"));
  return [form(h("div", { class: "row" }, field("What the other device may do", role), uses, hours), "Make a ticket", async () => {
    const reply = await share({ volume, role: role.value, uses: Number(uses_input.value), expires_seconds: Math.round(Number(hours_input.value) * 3600) });
    made.replaceChildren(ticket_of(reply, () => made.replaceChildren()));
    made.focus();
    await list_invites(volume, invites);
  }), made];
}

function ticket_of(reply, hide) {
  const text = h("textarea", { rows: 4, readonly: true, spellcheck: "false", onfocus: () => text.select() });
  text.value = reply.ticket;
  return h("div", {},
    field("Ticket", text, "Whoever has it can join. On the other device: `holofsctl join -`, or “Join a volume” in its window."),
    h("p", { class: "buttons" }, action("Copy", async () => {
      await navigator.clipboard.writeText(reply.ticket);
      tell("The ticket is in the clipboard.");
    }), action("Hide it", hide)),
    h("div", { class: "qr" }, qr(reply.qr)));
}

function qr(rows) {
  const dark = rows.flatMap((row, y) => [...row].map((cell, x) => cell === "1" ? `M${x} ${y}h1v1h-1z` : ""));
  return s("svg", { viewBox: `0 0 ${rows.length} ${rows.length}`, role: "img", "aria-label": "QR code of the ticket", "shape-rendering": "crispEdges" }, s("path", { d: dark.join(""), fill: "#000000" }));
}

const list_invites = (volume, place) => into(place, async () => {
  const { invites } = await call("Invites", { volume });
  if (!invites.length) return h("p", {}, "None that this device made.");
  return table("Made by this device", ["Made", "Role", "Uses", "Ends", ""], invites.map((invite) => [
    moment(invite.made_at_ms), invite.role, invite.uses_left || "any number", invite.expires_at_ms ? moment(invite.expires_at_ms) : "never",
    action("Revoke", async () => {
      await call("RevokeInvite", { volume, invite: invite.id });
      tell("The invite is worth nothing any more.");
      document.getElementById("main").focus();
      await list_invites(volume, place);
    }, { "aria-label": `Revoke the invite for a ${invite.role}, ${invite.id}` }),
  ]));
});
