"""Scenarios of pipes that are made: pairs of callback and method, and random ones."""
from __future__ import annotations

import random
import re

from scenario import PIPE_KINDS

AMEND = "amend: C-11 C-12 C-15 C-16 C-22 S-019 T-019 T-027 T-049"

# --- pairs: every callback with every method called inside it ---

# How to come to a callback, by side and by what else goes on; the pipe is c.
PROVOKE = {
    "reader": {
        "": {
            "factory": [],
            "connection_made": [],
            "data_received": ["c.peer.send 10"],
            "eof_received": ["c.peer.send 4", "c.peer.eof"],
            "connection_lost": ["c.peer.send 3", "c.close"],
            "call": ["loop.call_soon a"],
        },
        "at_the_end": {
            "connection_made": ["c.peer.send 5", "+ c.peer.eof"],
            "data_received": ["c.peer.send 10", "+ c.peer.eof"],
            "eof_received": ["c.pause_reading", "c.peer.send 4", "c.peer.eof", "c.resume_reading"],
            "connection_lost": ["c.peer.eof"],
        },
        "answered": {"eof_received": ["c.peer.eof"]},
        "paused": {
            "connection_lost": ["c.pause_reading", "c.peer.send 3", "c.close"],
            "call": ["c.pause_reading", "c.peer.send 3", "loop.call_soon a"],
        },
        "after": {"call": ["c.close", "loop.call_soon a"]},
    },
    "writer": {
        "": {
            "factory": [],
            "connection_made": [],
            "pause_writing": ["c.peer.read off", "c.write big"],
            "resume_writing": ["c.peer.read off", "c.limits low=0", "c.write big",
                               "c.peer.read on"],
            "connection_lost": ["c.write 3", "c.close"],
            "call": ["loop.call_soon a"],
        },
        "at_the_mark": {
            "resume_writing": ["c.limits high=500000 low=400000", "c.peer.read off", "c.write big",
                               "c.peer.take 700000"],
        },
        "closing": {
            "resume_writing": ["c.peer.read off", "c.write big", "c.close", "c.peer.read on"],
            "connection_lost": ["c.peer.read off", "c.write big", "c.close", "c.peer.read on"],
            "call": ["c.peer.read off", "c.write big", "c.close", "loop.call_soon a"],
        },
        "ended": {
            "resume_writing": ["c.peer.read off", "c.write big", "c.write_eof", "c.peer.read on"],
            "connection_lost": ["c.peer.read off", "c.write big", "c.write_eof", "c.peer.close"],
            "call": ["c.peer.read off", "c.write big", "c.write_eof", "loop.call_soon a"],
        },
        "unread": {"connection_lost": ["c.peer.read off", "c.write big", "c.peer.close"]},
        "reader_gone": {"connection_lost": ["c.peer.close"]},
        "after": {"call": ["c.write_eof", "loop.call_soon a"]},
    },
}
ALWAYS = ("close", "is_closing", "set_protocol plain", "has_pipe", "names", "raise user",
          "raise os", "loop.call_soon x", "loop.stop")
CALLS = {
    "reader": (*ALWAYS, "pause_reading", "resume_reading", "pause_reading, resume_reading",
               "is_reading", "peer.send 3", "peer.eof", "answer yes"),
    "writer": (*ALWAYS, "write 10", "write 0", "write big", "writelines 5 0 6", "writelines 7 big",
               "write 3, write_eof", "write_eof, write 3", "abort, write 3", "write_eof",
               "can_write_eof", "abort", "size", "limits high=200000", "limits high=0",
               "limits high=2 low=3", "get_limits", "peer.close"),
}
AFTERMATH = {
    "reader": ("c.is_reading", "c.resume_reading", "c.peer.send 7", "c.pause_reading",
               "c.peer.send 8", "c.peer.eof", "c.resume_reading", "c.is_reading", "c.close",
               "c.is_closing", "c.resume_reading", "c.close"),
    "writer": ("c.peer.read on", "c.write 5", "c.write_eof", "c.write 6", "c.is_closing",
               "c.close", "c.write 7", "c.write_eof", "c.abort"),
}


def is_pair(callback: str, call: str) -> bool:
    if callback == "factory":
        return call.startswith("loop.")  # there is no transport yet
    return call != "answer yes" or callback == "eof_received"


def own_calls(callback: str, call: str, also: str) -> str:
    # While it drains, how much is left is the kernel's choice: not asked for then.
    if call == "size" and callback == "resume_writing" and also:
        call = "is_closing"
    if also == "answered":
        return f"answer yes, {call}"
    if callback == "call" and not call.startswith(("loop.", "raise")):
        return ", ".join(f"c.{one}" for one in call.split(", "))
    return call


def pair(callback: str, call: str, kind: str, side: str, also: str) -> tuple[str, str]:
    """Its name and its text."""
    words = re.sub(r"[^a-z0-9]+", "_", call)
    name = f"pair_{callback}_{words}_{kind}_{side}" + ("_" + also if also else "")
    head = "on a" if callback == "call" else f"on c {callback} 1"
    return name, "\n".join([
        f"scenario {name}", AMEND, f"link c {kind} {side}",
        f"{head}: {own_calls(callback, call, also)}", "c.open", *PROVOKE[side][also][callback],
        *AFTERMATH[side], ""])


def pair_scenarios() -> dict[str, str]:
    """Their texts, by name."""
    return dict(pair(callback, call, kind, side, also)
                for kind in PIPE_KINDS for side, ways in PROVOKE.items()
                for also, callbacks in ways.items() for callback in callbacks
                for call in CALLS[side] if is_pair(callback, call))


# --- random ones ---
#
# As for streams (generate.py), nothing hangs on the kernel's choice: who acts in a callback gets no
# big input, because how that is cut is free, and no reader goes before its writer has begun, which
# asyncio tells before the opener knows, and ferry after.

SIZES = ("1", "10", "100", "1000", "3000")
MARKS = ("high=100000", "high=65536 low=0", "high=200000 low=1000", "low=20000", "high=1 low=2",
         "low=-1", "")
CALLBACKS = {
    "reader": ("connection_made", "data_received", "data_received", "eof_received",
               "connection_lost"),
    "writer": ("connection_made", "pause_writing", "resume_writing", "connection_lost"),
}


class Maker:
    def __init__(self, seed: int):
        self.seed = seed
        self.random = random.Random(seed)
        self.lines: list[str] = []
        self.pipes: dict[str, str] = {}  # name -> side
        self.acting: set[str] = set()  # that do something in a callback
        self.calls = 0

    def one(self, *choices: str) -> str:
        return self.random.choice(choices)

    def chance(self, percent: int) -> bool:
        return self.random.randrange(100) < percent

    def method(self, side: str, callback: str) -> str:
        draw = self.random.randrange(14)
        if draw < 2:
            return "set_protocol plain"
        if draw < 4:
            return self.one("is_closing", "names")
        if side == "reader":
            return self.one("pause_reading", "pause_reading", "resume_reading", "resume_reading",
                            "close", "is_reading")
        if draw < 9:
            sizes = [self.one(*SIZES, "0") for _ in range(3)]
            if callback in ("", "connection_made") and self.chance(30):
                sizes[0] = "big"
            return self.one("write " + sizes[0], "writelines " + " ".join(sizes))
        if draw < 11:
            return self.one("close", "write_eof", "abort")
        if draw < 13:
            return ("limits " + self.one(*MARKS)).strip()
        return self.one("get_limits", "can_write_eof")

    def actions(self, name: str, callback: str) -> list[str]:
        side, actions = self.pipes[name], []
        for _ in range(self.random.randrange(1, 4)):
            draw = self.random.randrange(12)
            if draw == 0:
                actions.append("raise " + self.one("user", "os"))
                break
            if draw == 1 and callback == "eof_received":
                actions.append("answer yes")
            elif draw == 2:
                actions.append("loop.call_soon " + self.new_call(name))
            else:
                actions.append(self.method(side, callback))
        return actions

    def reaction(self, name: str) -> None:
        callback = self.one(*CALLBACKS[self.pipes[name]])
        self.acting.add(name)
        number = self.one("1", "1", "1", "2", "3")
        actions = ", ".join(self.actions(name, callback))
        self.lines.append(f"on {name} {callback} {number}: {actions}")

    def new_call(self, owner: str) -> str:
        self.calls += 1
        self.acting.add(owner)
        actions = [f"{owner}.{self.method(self.pipes[owner], 'call')}"
                   for _ in range(self.random.randrange(0, 3))]
        if actions:
            self.lines.append(f"on call{self.calls}: {', '.join(actions)}")
        return f"call{self.calls}"

    def step(self, name: str) -> list[str]:
        draw = self.random.randrange(20)
        if draw < 7:
            steps = [f"{name}.{self.method(self.pipes[name], '')}"]
            while self.chance(25):
                steps.append(f"+ {name}.{self.method(self.pipes[name], 'joined')}")
            return steps
        if draw < 9:
            return [f"loop.call_soon {self.new_call(name)}"]
        if self.pipes[name] == "reader":
            if draw < 11:
                return [f"{name}.peer.eof"]
            return [f"{name}.peer.send {self.one(*SIZES)}",
                    *([f"+ {name}.peer." + self.one("eof", "send 50")] * self.chance(30))]
        if draw < 11:
            return [f"{name}.peer.read " + self.one("on", "off")]
        if draw < 12:
            return [f"{name}.peer.close"]
        marks = [f"{name}.limits low=0"] if self.chance(30) else []
        return [f"{name}.peer.read off", *marks, f"{name}.write big",
                f"{name}.peer." + self.one("take 200000", "read on", "read on")]

    def make(self) -> str:
        for name in "cde"[:self.random.randrange(1, 4)]:
            self.pipes[name] = self.one("reader", "writer")
            self.lines.append(f"link {name} {self.one(*PIPE_KINDS)} {self.pipes[name]}")
        for name in self.pipes:
            for _ in range(self.random.randrange(0, 4)):
                self.reaction(name)
        steps: list[str] = []
        opened: list[str] = []
        for name, side in self.pipes.items():
            if side == "reader" and self.chance(20):
                steps.append(f"{name}.peer." + self.one("send 10", "eof"))
            steps.append(f"{name}.open")
            opened.append(name)
            for _ in range(self.random.randrange(3, 8)):
                steps += self.step(self.one(*opened))
        for name, side in self.pipes.items():
            if name not in self.acting and side == "reader" and self.chance(40):
                steps += [f"{name}.peer.send big", f"{name}.peer.eof"]
        return "\n".join([f"scenario pipes_seed_{self.seed}", AMEND, *self.lines, *steps, ""])


def random_scenario(seed: int) -> str:
    return Maker(seed).make()
