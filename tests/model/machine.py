# SPDX-License-Identifier: GPL-3.0-or-later
"""The model as a Hypothesis state machine: each operation and each trouble is a rule, and Hypothesis draws the rest.

What it finds it makes small by itself; the program that is left is told as one that `regressions.py` can hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from model.actor import FOCUS, OPERATIONS
from model.lies import Chosen, chosen, family
from model.lying import PREFIX
from model.members import MEMBERSHIP, TROUBLES
from model.program import PAUSES, Program, Step
from model.run import Play
from model.world import Result

NUMBER = st.integers(0, (1 << 16) - 1)
TURNS = (*[-1] * 24, 0, 1, 2, 3, 5, 8)
"""Most operations end before the next one begins; the others are overtaken after so many turns of the loop."""
OFTEN = 4
"""Of so many rules each is left out by itself."""
TROUBLE_WEIGHTS = {
    **dict.fromkeys(TROUBLES, 1),
    "fault": 2,
    "fault_at": 2,
    "heal": 2,
    "meet": 2,
    "crash": 2,
    "invite": 2,
    "expel": 2,
}
LIE_WEIGHTS = {"record": 20, "set": 10, "member": 6, "wire": 8}
LIAR_WEIGHTS = {"liar_comes": 5, "liar_goes": 2}
OPEN = ("hold", "held", "stale", "late")
"""In the names of operations with files that stay open: what is written to them is not published at once."""


class Model(RuleBasedStateMachine):
    tally: ClassVar[list[Result]] = []
    """What came of each run, for whoever empties it."""
    lying: ClassVar[bool] = False
    """One more device is there, and lies: `LyingModel`."""

    def __init__(self) -> None:
        super().__init__()
        self.play: Play | None = None
        self.program = Program(0, 2, sequential=False, quick=False, steps=())
        self.apart = 0
        self.focus: list[str] = []
        self.members = False

    @initialize(
        seed=NUMBER,
        devices=st.sampled_from((2, 2, 2, 3, 3, 3, 4, 5)),
        quick=st.booleans(),
        sequential=st.sampled_from([False] * 7 + [True]),
        apart=st.sampled_from((0, 0, 4, 8, 15)),
        focus=st.sampled_from(("", "", "", *FOCUS, "members")),
        files=st.lists(st.tuples(NUMBER, NUMBER, NUMBER), max_size=5),
    )
    def begin(
        self,
        seed: int,
        devices: int,
        quick: bool,
        sequential: bool,
        apart: int,
        focus: str,
        files: list[tuple[int, int, int]],
    ) -> None:
        if not seed:
            # The first example of Hypothesis is always the simplest one: no time is spent on it.
            return
        sequential = sequential and not self.lying
        self.program = Program(seed, devices, sequential, quick, (), self.lying)
        self.play = Play(self.program)
        self.judge()
        # Without a file there is little to do, and a run may well have no rule that makes one.
        for number, numbers in enumerate(files):
            self._take(Step(number % devices, "write", numbers, -1, PAUSES[number]))
        # In half of the runs everybody is alone for a while, then all are together, and so on.
        self.apart = 0 if sequential else apart
        self.focus = FOCUS.get(focus, [])
        self.members = focus == "members"

    @precondition(lambda self: self.play is None)
    @rule()
    def nobody_is_there(self) -> None:
        pass

    @property
    def sequential(self) -> bool:
        return self.program.sequential

    def take(self, step: Step) -> None:
        taken = len(self.program.steps)
        if self.apart and taken % self.apart == 0:
            self._take(replace(step, name="meet" if taken % (2 * self.apart) else "islands", pause=0.0))
        if self.focus and step.name in OPERATIONS and step.numbers[2] % 3:
            step = replace(step, name=self.focus[step.numbers[2] // 3 % len(self.focus)])
        self._take(step)

    def _take(self, step: Step) -> None:
        assert self.play is not None
        self.program = replace(self.program, steps=(*self.program.steps, step))
        self.play.step(step)
        self.judge()

    def judge(self) -> None:
        assert self.play is not None
        if self.play.result.problems:
            raise AssertionError(told(self.program, self.play.result))

    def teardown(self) -> None:
        if self.play is None:
            return
        play, found_before = self.play, bool(self.play.result.problems)
        try:
            play.finish()
        finally:
            play.close()
        self.tally.append(play.result)
        if not found_before:
            self.judge()


def told(program: Program, result: Result) -> str:
    head = f"{program.devices} devices, {len(program.steps)} steps: {program!r}"
    return "\n".join([head, *result.log, *result.problems])


class LyingModel(Model):
    """Machine with a liar, which tells what Hypothesis draws of the grammar of lies."""

    lying = True
    chosen: ClassVar[Chosen] = chosen()


def _lie_rule(family: list[str], called: str) -> Callable[..., None]:
    def take(self: LyingModel, device: int, name: str, numbers: tuple[int, int, int], pause: float) -> None:
        told = self.chosen.instead_of(name, numbers[0])
        self.take(Step(device % self.program.devices, PREFIX + told, numbers, -1, pause))

    take.__name__ = called
    arguments: dict[str, Any] = {
        "device": st.integers(0, 4),
        "name": st.sampled_from(family),
        "numbers": st.tuples(NUMBER, NUMBER, NUMBER),
        "pause": st.sampled_from(PAUSES),
    }
    made: Callable[..., None] = precondition(lambda self: self.play is not None)(
        rule(**arguments)(take)  # type: ignore[no-untyped-call]
    )
    return made


def _rule(name: str, called: str) -> Callable[..., None]:
    def take(self: Model, device: int, numbers: tuple[int, int, int], turns: int, pause: float) -> None:
        program = self.program
        self.take(Step(device % program.devices, name, numbers, -1 if self.sequential else turns, pause))

    take.__name__ = called
    arguments: dict[str, Any] = {
        "device": st.integers(0, 4),
        "numbers": st.tuples(NUMBER, NUMBER, NUMBER),
        "turns": st.sampled_from(TURNS),
        "pause": st.sampled_from(PAUSES),
    }
    calm = name not in TROUBLES and not any(part in name for part in OPEN)
    rare = name in MEMBERSHIP

    def may(self: Model) -> bool:
        return self.play is not None and (calm or not self.sequential) and (self.members or not rare)

    made: Callable[..., None] = precondition(may)(
        rule(**arguments)(take)  # type: ignore[no-untyped-call]
    )
    return made


def _add_rules() -> None:
    """Rules that stand several times, for what people do often. Hypothesis leaves some rules out in each run: never all
    that write."""
    weights = {name: max(1, weight // 2) for name, (_operation, weight) in OPERATIONS.items()}
    for name, weight in {**weights, **TROUBLE_WEIGHTS, "quiet": 1}.items():
        for number in range(weight):
            made = _rule(name, f"{name}_{number}" if weight > OFTEN else name)
            setattr(Model, f"{name}_{number}", made)


def _add_lies() -> None:
    for name, weight in LIE_WEIGHTS.items():
        for number in range(weight):
            called = f"lie_{name}_{number}"
            setattr(LyingModel, called, _lie_rule(family(name), called))
    for name, weight in LIAR_WEIGHTS.items():
        for number in range(weight):
            setattr(LyingModel, f"{name}_{number}", _rule(name, f"{name}_{number}"))


_add_rules()
_add_lies()
