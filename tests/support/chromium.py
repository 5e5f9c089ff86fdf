# SPDX-License-Identifier: GPL-3.0-or-later
"""A headless Chromium with one page, driven by the DevTools protocol over a pair of pipes. No driver is needed."""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final

ANSWER_S: Final = 60.0
_OPTIONS: Final = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--no-sandbox",  # root may not use it otherwise, and the page is ours
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--hide-scrollbars",
    "--lang=en-GB",
)
# The browser reads commands from descriptor 3 and writes to 4.
_WITH_PIPES: Final = 'exec "$@" 3<&"$COMMANDS" 4>&"$ANSWERS"'
_KEYS: Final = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32}


class ChromiumFailed(AssertionError):
    """The browser did not do what it was told."""


class Chromium:
    """One page of a browser of its own. Use it as a context manager.

    `problems`: what the page complained of: errors of scripts, refusals of its content policy, failed requests.
    """

    def __init__(self, program: str = "chromium") -> None:
        self._home = tempfile.TemporaryDirectory(prefix="hfs-chromium-", ignore_cleanup_errors=True)
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        environment = {**os.environ, "COMMANDS": str(commands), "ANSWERS": str(answers), "HOME": self._home.name}
        words = ["bash", "-c", _WITH_PIPES, "bash", program, *_OPTIONS, f"--user-data-dir={self._home.name}/data"]
        self._process = subprocess.Popen(
            [*words, "about:blank"],
            env=environment,
            pass_fds=(commands, answers),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(commands)
        os.close(answers)
        self._rest = b""
        self._number = 0
        self._session = ""
        self.problems: list[str] = []
        try:
            self._attach()
        except BaseException:
            self.close()
            raise

    def _attach(self) -> None:
        target = self.tell("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.tell("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Accessibility"):
            self.tell(f"{domain}.enable")

    # ---- the protocol
    def tell(self, method: str, **parameters: Any) -> Any:
        """One command and its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self._number:
            self._note(answer)
        if "error" in answer:
            raise ChromiumFailed(f"{method}: {answer['error'].get('message')}")
        return answer["result"]

    def _read(self) -> dict[str, Any]:
        deadline = time.monotonic() + ANSWER_S
        while b"\0" not in self._rest:
            if not select.select([self._answers], [], [], max(deadline - time.monotonic(), 0))[0]:
                raise ChromiumFailed("The browser does not answer.")
            part = os.read(self._answers, 1 << 20)
            if not part:
                raise ChromiumFailed("The browser has ended.")
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def _note(self, event: dict[str, Any]) -> None:
        told = event.get("params", {})
        if event.get("method") == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.problems.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
        elif event.get("method") == "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            self.problems.append(str(details.get("exception", {}).get("description", details["text"])))

    # ---- the page
    def look(self, width: int, height: int, scheme: str = "light") -> None:
        """Size of the page, and colours that the system asks for."""
        self.tell("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        wanted = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self.tell("Emulation.setEmulatedMedia", features=wanted)

    def open(self, address: str) -> None:
        self.tell("Page.navigate", url=address)

    def run(self, script: str) -> Any:
        """The value of an expression in the page; of a promise, once it is there."""
        result = self.tell("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise ChromiumFailed(f"{script[:80]}: {result['exceptionDetails'].get('exception', {}).get('description')}")
        return result["result"].get("value")

    def until(self, script: str, what: str, seconds: float = 30.0) -> None:
        """Waits until an expression is true in the page; an element is. Raises ChromiumFailed."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.run(f"Boolean({script})"):
                return
            time.sleep(0.05)
        text = self.run("document.body.innerText")
        raise ChromiumFailed(f"waited for {what}; the page says:\n{text}\n{self.problems}")

    def press(self, key: str, times: int = 1) -> None:
        code = {"windowsVirtualKeyCode": _KEYS[key], "key": key, "code": "Space" if key == " " else key}
        text = {"text": "\r"} if key == "Enter" else {"text": " "} if key == " " else {}
        for _ in range(times):
            self.tell("Input.dispatchKeyEvent", type="keyDown", **code, **text)
            self.tell("Input.dispatchKeyEvent", type="keyUp", **code)

    def write(self, text: str) -> None:
        self.tell("Input.insertText", text=text)

    def names(self) -> Sequence[tuple[str, str]]:
        """Role and name of everything on the page, as a screen reader gets them."""
        nodes = self.tell("Accessibility.getFullAXTree")["nodes"]
        seen = [node for node in nodes if not node.get("ignored")]
        return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in seen]

    def picture(self, path: Path, height: int) -> None:
        """Writes what is seen of the page, from its top, as PNG."""
        width = self.run("innerWidth")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        told = self.tell("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(told["data"]))

    # ---- its end
    def close(self) -> None:
        if self._commands < 0:
            return
        os.close(self._commands)  # it ends with the pipe
        self._commands = -1
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, 9)
            self._process.wait(10)
        os.close(self._answers)
        self._home.cleanup()

    def __enter__(self) -> Chromium:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
