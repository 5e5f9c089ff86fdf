# SPDX-License-Identifier: GPL-3.0-or-later
"""Kinds of values that a setting can have: which are allowed, and how each is written as text, in TOML and in JSON."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from holofs_api.device_names import MAX_DEVICE_NAME, complaint_about, fitting_name
from holofs_api.timetable import NO_RATE, parse_rate, parse_timetable
from holofs_api.words import printable, quoted

Value = str | float | tuple[str, ...]
"""Value of a setting. A list is a tuple; an empty text or tuple means what `Setting.unset` says."""

_MOST_SHOWN: Final = 60
_MOST_SECONDS: Final = 86400
_URLS: Final = ("https://", "http://")


class BadValue(Exception):
    """A value that a setting cannot have. The text is a fragment that goes on after a key: "is 'x'; it can be y"."""


class ValueKind(Protocol):
    """Kind of values. Every method raises BadValue."""

    @property
    def metavar(self) -> str:
        """Name of a value in the help of an option."""

    @property
    def allowed(self) -> str:
        """The values that are allowed, for people: a fragment."""

    def of_text(self, text: str) -> Value:
        """Value of a command-line word. It is not empty."""

    def of_environment(self, text: str) -> Value:
        """Value of an environment variable. It is not empty."""

    def of_toml(self, told: object) -> Value:
        """Value as a TOML file has it."""


class _Text:
    """A kind whose values are text, written alike everywhere."""

    def of_text(self, text: str) -> Value:
        raise NotImplementedError

    def of_environment(self, text: str) -> Value:
        return self.of_text(text)

    def of_toml(self, told: object) -> Value:
        if not isinstance(told, str):
            raise BadValue(f"is {shown(told)}, which is not a text between quotation marks")
        return self.of_text(told) if told else ""


@dataclass(frozen=True, slots=True)
class OneOf(_Text):
    """Choice among some words. Capital letters do not matter."""

    words: tuple[str, ...]
    metavar: str

    @property
    def allowed(self) -> str:
        return _either(self.words)

    def of_text(self, text: str) -> Value:
        if text.lower() not in self.words:
            raise BadValue(f"is {shown(text)}; it can be {self.allowed}")
        return text.lower()

    def of_toml(self, told: object) -> Value:
        if told == "":
            raise BadValue(f"is empty; it can be {self.allowed}")
        return _Text.of_toml(self, told)


@dataclass(frozen=True, slots=True)
class Address(_Text):
    """An IP address and a port."""

    metavar: str = "ADDRESS:PORT"
    allowed: str = "an IP address and a port, for example 127.0.0.1:0"

    def of_text(self, text: str) -> Value:
        address, separator, port = text.rpartition(":")
        try:
            ipaddress.ip_address(address.strip("[]"))
            good = bool(separator) and port.isascii() and port.isdigit() and len(port) <= 5 and int(port) < 65536
        except ValueError:
            good = False
        if not good:
            raise BadValue(f"is {shown(text)}; it has to be an address and a port, like 127.0.0.1:0")
        return text


@dataclass(frozen=True, slots=True)
class Port(_Text):
    """A port, as text; empty: none. `word`: one word that can stand there, too."""

    word: str = ""
    metavar: str = "PORT"

    @property
    def allowed(self) -> str:
        return "a port, or 0 for any that is free" + (f', or "{self.word}"' if self.word else "")

    def of_text(self, text: str) -> Value:
        if self.word and text.lower() == self.word:
            return self.word
        if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) < 65536):
            raise BadValue(f"is {shown(text)}; it has to be {self.allowed}")
        return text

    def of_toml(self, told: object) -> Value:
        is_number = isinstance(told, int) and not isinstance(told, bool)
        return self.of_text(str(told)) if is_number else _Text.of_toml(self, told)


@dataclass(frozen=True, slots=True)
class DeviceName(_Text):
    """The name of a device."""

    metavar: str = "NEW"
    allowed: str = f"one line of text of at most {MAX_DEVICE_NAME} characters, without slashes"

    def of_text(self, text: str) -> Value:
        if complaint := complaint_about(text):
            raise BadValue(f"is {shown(text)}. {complaint.removesuffix('.')}")
        return text

    def of_environment(self, text: str) -> Value:
        # It may come from a machine's name. A device that is to start does not stop at that.
        return fitting_name(text)


@dataclass(frozen=True, slots=True)
class Urls:
    """A list of URLs; `word`: one word that can stand in it, too."""

    word: str = ""
    metavar: str = "URLS"

    @property
    def allowed(self) -> str:
        return f"a list of URLs that begin with {_either(_URLS)}" + (f', or "{self.word}"' if self.word else "")

    def of_text(self, text: str) -> Value:
        return self._checked([part.strip() for part in text.split(",") if part.strip()])

    def of_environment(self, text: str) -> Value:
        return self.of_text(text)

    def of_toml(self, told: object) -> Value:
        if not isinstance(told, list):
            raise BadValue(f'is {shown(told)}, which is not a list of texts, like ["https://relay.example.org"]')
        return self._checked(told)

    def _checked(self, urls: Sequence[object]) -> tuple[str, ...]:
        good = []
        for url in urls:
            is_url = isinstance(url, str) and url.startswith(_URLS) and url.isprintable() and "," not in url
            if not is_url and not (self.word and url == self.word):
                raise BadValue(f"has {shown(url)}, which is not a URL; it can be {self.allowed}")
            good.append(str(url))
        return tuple(good)


@dataclass(frozen=True, slots=True)
class Seconds:
    """A number of seconds, up to a day."""

    metavar: str = "SECONDS"
    allowed: str = f"a number of seconds from 0 to {_MOST_SECONDS}"

    def of_text(self, text: str) -> Value:
        try:
            value = float(text) if text.isascii() and "_" not in text else math.nan
        except ValueError:
            value = math.nan
        return self._checked(value, text)

    def of_environment(self, text: str) -> Value:
        return self.of_text(text)

    def of_toml(self, told: object) -> Value:
        is_number = isinstance(told, int | float) and not isinstance(told, bool)
        return self._checked(told if is_number else math.nan, told)

    def _checked(self, value: object, told: object) -> float:
        if not isinstance(value, int | float) or not 0 <= value <= _MOST_SECONDS:  # nor nan
            raise BadValue(f"is {shown(told)}; it has to be {self.allowed}")
        return float(value)


@dataclass(frozen=True, slots=True)
class Rate(_Text):
    """Bytes a second, as text; empty: no limit."""

    metavar: str = "RATE"
    allowed: str = "a rate like 5M (MiB a second), 1.5M or 512K, from 16K up, or off"

    def of_text(self, text: str) -> Value:
        try:
            rate = parse_rate(text)
        except ValueError as error:
            raise BadValue(f"is {shown(text)}, which {error}") from None
        return "" if rate is None else text


@dataclass(frozen=True, slots=True)
class WeekRates(_Text):
    """Rates by time of day and week (`timetable`), as text; empty: none."""

    metavar: str = "TIMETABLE"
    allowed: str = 'times and rates like "08:00,512K 19:00,off", or off'

    def of_text(self, text: str) -> Value:
        told = " ".join(text.split())
        if told.lower() == NO_RATE:
            return ""
        try:
            parse_timetable(told)
        except ValueError as error:
            raise BadValue(f"is {shown(text)} and {error}") from None
        return told


def shown(told: object) -> str:
    """A value for a sentence: a text in quotation marks, all else as it is; shortened, and nothing a terminal obeys."""
    try:
        text = told if isinstance(told, str) else repr(told)
    except ValueError:  # a whole number with more digits than Python shows
        return "a very large number"
    short = text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."
    return quoted(short) if isinstance(told, str) else printable(short)


def as_text(value: Value) -> str:
    """Text of which `ValueKind.of_text` makes the value again."""
    if isinstance(value, tuple):
        return ",".join(value)
    return f"{value:g}" if isinstance(value, float) else value


def as_plain(value: Value) -> str | float | list[str]:
    """The value as TOML and JSON have it; a number without a fraction is a whole one."""
    if isinstance(value, tuple):
        return list(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _either(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
