# SPDX-License-Identifier: GPL-3.0-or-later
"""Documents that commands print with `--json`, for the schemas in `holofsctl/schema.json` and the page `docs/json.md`.

A document is made of messages of `holofs.v1`, as `holofs_api.plain` gives them, and of what is described here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

Schema = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """An object with the fields of a message, and some before them."""

    name: str
    before: tuple[tuple[str, Schema], ...] = ()


@dataclass(frozen=True, slots=True)
class Fields:
    """An object that no message describes. `open`: it has other keys, too."""

    properties: dict[str, Schema]
    open: bool = False


@dataclass(frozen=True, slots=True)
class Document:
    command: str
    """As a person types it, without arguments."""
    text: str
    content: Message | Fields
    many: bool = False
    """A list of them."""
    optional: tuple[str, ...] = ()
    """Keys that are not always there."""

    @property
    def name(self) -> str:
        """Name of its schema: words joined by hyphens."""
        return "-".join(self.command.replace("--", "").split())


def text(meaning: str) -> Schema:
    return {"type": "string", "description": meaning}


def flag(meaning: str) -> Schema:
    return {"type": "boolean", "description": meaning}


def number(meaning: str) -> Schema:
    return {"type": "integer", "description": meaning}


def one_of(meaning: str, *values: str) -> Schema:
    return {"enum": [*values], "description": meaning}


def many(items: Schema, meaning: str) -> Schema:
    return {"type": "array", "items": items, "description": meaning}


def ref(message: str, meaning: str = "") -> Schema:
    return {"$ref": f"#/$defs/{message}", **({"description": meaning} if meaning else {})}


def obj(properties: dict[str, Schema], meaning: str = "") -> Schema:
    told = {"type": "object", "properties": properties, "required": [*properties]}
    return {**told, **({"description": meaning} if meaning else {})}


_VALUE: Final = {"type": ["string", "number", "array"], "items": {"type": "string"}}
_SETTING: Final = {
    "key": text('for example "log.level"'),
    "value": {**_VALUE, "description": "in use"},
    "source": one_of("where it comes from", "option", "environment", "file", "default"),
    "where": {
        "type": ["string", "integer", "null"],
        "description": "the option or variable, or the line of the file; null: none of them",
    },
    "waiting": {
        **_VALUE,
        "type": [*_VALUE["type"], "null"],
        "description": "in use after the next start; null: nothing else",
    },
    "default": {**_VALUE, "description": "in use where nothing else is said"},
    "allowed": text("the values that are allowed, for people"),
    "applies": one_of("when a change is in use", "now", "next-start", "next-mount", "first-start"),
    "variables": many({"type": "string"}, "environment variables that give it"),
    "option": text("option that gives it"),
}
_FILE: Final = {
    "starter": one_of("what starts the device", "systemd", "autostart"),
    "file": text("path of the file that makes it start at login"),
    "socket_file": text("path of the unit by which systemd waits for clients before the daemon runs; empty: none"),
    "state_dir": text("path of the state directory"),
    "changed": flag("there was something to do, or would be"),
}
_PROGRAM: Final = {
    "program": text('e.g. "holofsd 0.1.0"; of a mount empty: not attached yet, or the daemon is too old to tell'),
    "api_version": number("of the interface that it speaks; 0: likewise"),
    "pid": number("its process"),
}
_TRANSFER: Final = {
    "volume": text("its name here"),
    "path": text("in the volume; empty: all of it"),
    "folder": text("the other side: absolute path"),
    "files": number("that were new there"),
    "folders": number("that were new there"),
    "symlinks": number("that were new there"),
    "links": number("further names of files, new there"),
    "bytes": number("of the new files"),
    "same": number("names that were there already, with the same content"),
    "verified": number("files whose content was compared at the end, or by what is stored of it"),
    "removed": number("names that `--move` removed from the folder"),
    "moved": number("files whose own place on the disk became that of the content"),
    "cloned": number("files that share their blocks on the disk (reflink)"),
    "copied": number("files whose content was copied; small files count for none of the three"),
    "problem_count": number("names that were left out, or are not as they should be"),
    "problems": many(obj({"path": text(""), "why": text("the rest of a sentence")}), "the first thousand"),
}

DOCUMENTS: Final = (
    Document(
        "up",
        "The daemon, and the mounts that it brought back.",
        Fields(
            {
                "started": flag("no daemon ran before"),
                "device_id": text("hex"),
                "pid": number("process of the daemon"),
                "mounts": many(ref("MountInfo"), "that the device remembers"),
            }
        ),
    ),
    Document("down", "Whether there was something to stop.", Fields({"was_running": flag("a daemon ran")})),
    Document(
        "install",
        "What starts the device from now on.",
        Fields(
            {
                **_FILE,
                "handed_over": flag("a daemon ran that systemd had not started, and systemd took its place"),
                "linger": flag("it starts with the machine"),
            }
        ),
    ),
    Document(
        "install --dry-run",
        "What `install` would do.",
        Fields(
            {
                **_FILE,
                "content": text("of the file"),
                "socket_content": text("of the unit of the socket; empty: none"),
                "commands": many({"type": "array", "items": {"type": "string"}}, "that would be run, word by word"),
            }
        ),
    ),
    Document(
        "uninstall",
        "What does not start the device any more. With `--dry-run`: what would not.",
        Fields(
            {
                "removed": many({"type": "string"}, "paths of the files that `install` had written"),
                "stopped": flag("a daemon that systemd had started was stopped"),
                "state_dir": text("path of the state directory, which stays"),
            }
        ),
    ),
    Document("status", "What the device does, and whether it is safe elsewhere.", Message("StatusReply")),
    Document("device name", "What the device is called.", Message("DeviceNameReply")),
    Document("device new-key", "The new device.", Fields({"device_id": text("hex")})),
    Document(
        "version",
        "The versions of all programs.",
        Fields(
            {
                "version": text("of this program"),
                "python": text("that runs it"),
                "api_version": number("of the interface that it speaks"),
                "binding": obj(
                    {
                        "name": one_of("of FUSE, that mounts use; empty: none can be used", "", "pyfuse3", "fusepy"),
                        "version": text(""),
                        "explanation": text("one sentence: why it is that one"),
                    }
                ),
                "daemon": {
                    "anyOf": [obj({**_PROGRAM, "device_id": text("hex")}), {"type": "null"}],
                    "description": "null: it does not run, or does not answer",
                },
                "mounts": many(
                    obj(
                        {"path": text(""), "volume": text("its name here"), "state": text("as of `status`"), **_PROGRAM}
                    ),
                    "",
                ),
            }
        ),
    ),
    Document("peers", "The other devices.", Message("Peer"), many=True),
    Document("ping", "One document for each ping, in one line.", Message("PingReply")),
    Document("events", "One document for each event, in one line.", Message("Event")),
    Document("ui", "A link to the window.", Message("OpenWindowReply")),
    Document(
        "doctor",
        "What was looked at.",
        Fields({"ok": flag("nothing is wrong"), "subject": text("e.g. `disk`"), "message": text("one sentence")}),
        many=True,
    ),
    Document(
        "log",
        "One document for each line, without spaces in between: what the daemon logged, with all fields of the line. A"
        " line that is no entry has `text` alone.",
        Fields(
            {
                "timestamp": text("ISO 8601"),
                "level": text("debug, info, warning, error or critical"),
                "event": text("one sentence"),
                "text": text("the line, where it is no entry"),
            },
            open=True,
        ),
        optional=("timestamp", "level", "event", "text"),
    ),
    Document("fsck", "What was checked, and what is wrong.", Message("FsckReply")),
    Document("create", "The new volume.", Message("Volume")),
    Document("list", "The volumes of this device.", Message("Volume"), many=True),
    Document("mount", "The mounted folder.", Message("MountInfo")),
    Document(
        "unmount",
        "The folder that is free.",
        Fields({"path": text("absolute"), "detached": flag("programs go on with what they have open there")}),
    ),
    Document("import", "What was taken into the volume.", Fields(_TRANSFER)),
    Document("export", "What was copied out of the volume.", Fields(_TRANSFER)),
    Document(
        "info",
        "What HoloFS knows of a file. A key about which there is nothing to say is empty.",
        Fields(
            {
                "volume": text("its name on this device"),
                "path": text("inside the volume; empty: its root"),
                "state": text("as `user.holofs.state`"),
                "device": text("that wrote the content last"),
                "written": text("when, by that device's clock, ISO 8601"),
                "hash": text("BLAKE3, hexadecimal digits"),
                "conflict": text("of a conflict copy: the name that it is a copy of"),
                "ignored_by": text(
                    "`FILE:LINE: PATTERN` of the rule that matches; the file may be published all the same"
                ),
            }
        ),
    ),
    Document("conflicts", "The conflict copies.", Message("Conflict"), many=True),
    Document(
        "diff",
        "What differs, for each copy.",
        Fields(
            {
                "volume": text("its name on this device"),
                "path": text("of the name, inside the volume"),
                "shown": ref("Alternative", "what the name shows"),
                "copy": ref("Alternative", "what it is compared with"),
                "text": flag("both are text, and were compared"),
                "diff": text("unified diff"),
                "explanation": text("why there is no diff; empty where there is"),
            }
        ),
        many=True,
    ),
    Document("ignored", "What a `.holofsignore` keeps on this device.", Message("ListIgnoredReply")),
    Document("resolve", "What became of the conflict.", Message("SettledConflict")),
    Document("resolve --all", "What became of each conflict.", Message("SettledConflict"), many=True),
    Document("history", "The versions that are kept, newest first.", Message("PastVersion"), many=True),
    Document("restore", "What became of each path.", Message("Restored"), many=True),
    Document("trash list", "What was removed and is kept, newest first.", Message("TrashItem"), many=True),
    Document("trash restore", "What became of each path.", Message("Restored"), many=True),
    Document("trash empty", "What was let go of.", Message("EmptyTrashReply")),
    Document("history-policy", "For how long, and how much, is kept.", Message("HistoryStatus")),
    Document("gc", "What was deleted.", Message("CollectGarbageReply")),
    Document("brake", "The limits of the brake, and what it holds.", Message("BrakeReply")),
    Document("record-budget", "What the records of each other device take.", Message("RecordBudgetReply")),
    Document("scrub", "What was found, for each volume.", Message("ScrubProgress"), many=True),
    Document("wait", "How many other devices hold everything.", Message("WaitProgress")),
    Document(
        "config path", "The settings file.", Fields({"path": text("of the settings file"), "exists": flag("it does")})
    ),
    Document("config list", "Every setting.", Fields(_SETTING), many=True),
    Document("config get", "The setting.", Fields(_SETTING)),
    Document("config set", "The setting, as it is then.", Fields(_SETTING)),
    Document("config unset", "The setting, as it is then.", Fields(_SETTING)),
    Document("config edit", "What was changed.", Fields({"changed": many({"type": "string"}, "keys of settings")})),
    Document(
        "config reload",
        "What the daemon makes of the settings file.",
        Fields(
            {
                "problems": many({"type": "string"}, "sentences about the file, with line; it is not used then"),
                "waiting": many({"type": "string"}, "keys of settings that are in use after the next start"),
            }
        ),
    ),
    Document("pause", "What is paused, and which limits hold now.", Message("TrafficStatus")),
    Document("resume", "What is paused then, and which limits hold now.", Message("TrafficStatus")),
    Document("limit", "What is paused, and which limits hold now.", Message("TrafficStatus")),
    Document("leave", "Where the files are kept.", Message("LeaveReply")),
    Document("share", "The ticket.", Message("ShareReply")),
    Document("share --list", "The invites that can still be redeemed.", Message("Invite"), many=True),
    Document("share --revoke", "The invites that were revoked.", Message("Invite"), many=True),
    Document(
        "join",
        "The volume, and how far the join is.",
        Message("Volume", (("stage", one_of("", "connecting", "waiting", "redeemed", "ready")),)),
    ),
    Document("members", "The devices that have the volume, removed ones included.", Message("Member"), many=True),
    Document("members role", "The member with its new role.", Message("Member")),
    Document("members remove", "The member that was removed.", Message("Member")),
    Document("recovery", "The recovery code.", Message("RecoveryReply")),
    Document("recover", "The volume.", Message("Volume")),
)

ERROR: Final = Document(
    "error",
    "What every command prints to standard error, in one line, where it fails.",
    Fields(
        {
            "error": obj(
                {
                    "code": text("stable, for programs"),
                    "message": text("one sentence: what happened, and what to do"),
                    "exit_code": number("that the command ends with"),
                }
            )
        }
    ),
)
