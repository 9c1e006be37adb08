"""Scenarios that are made: pairs of callback and method, and random ones."""
from __future__ import annotations

import random
import re

import amended

AMEND = "amend: " + " ".join(sorted(amended.ROWS))

# --- pairs: every callback with every method called inside it --------------------------------

# How to come to a callback; the link is c.
PROVOKE = {
    "factory": [],
    "connection_made": [],
    "data_received": ["c.peer.send 10"],
    "buffer_updated": ["c.peer.send 10"],
    "get_buffer": ["c.peer.send 10"],
    "eof_received": ["c.peer.send 4", "c.peer.eof"],
    "pause_writing": ["c.peer.read off", "c.write big"],
    "resume_writing": ["c.peer.read off", "c.limits low=0", "c.write big", "c.peer.read on"],
    "connection_lost": ["c.write 3", "c.close"],
    "call": ["loop.call_soon a"],
}
# The same, while something else is going on: a callback that comes after close(), or with an error.
PROVOKE_CLOSING = {
    "resume_writing": ["c.peer.read off", "c.write big", "c.close", "c.peer.read on"],
    "connection_lost": ["c.peer.read off", "c.write big", "c.peer.reset"],
    "call": ["c.peer.read off", "c.write big", "c.close", "loop.call_soon a"],
    "eof_received": ["c.peer.read off", "c.write big", "c.peer.eof"],
    "data_received": ["c.write_eof", "c.peer.send 10"],
    "buffer_updated": ["c.write_eof", "c.peer.send 10"],
}
BUFFERED = ("get_buffer", "buffer_updated")
CALLS = (
    "write 10", "write 0", "write big", "writelines 5 0 6", "writelines 7 big", "write_eof",
    "can_write_eof", "close", "abort", "pause_reading", "resume_reading", "is_closing",
    "is_reading", "size", "limits high=200000", "limits high=0", "limits high=2 low=3",
    "get_limits", "set_protocol plain", "set_protocol buffered", "names", "raise user", "raise os",
    "loop.call_soon x", "loop.stop", "peer.send 3", "answer yes", "lend nothing",
)
AFTERMATH = ("c.resume_reading", "c.peer.read on", "c.write 5", "c.peer.send 7", "c.peer.eof",
             "c.write 6", "c.close", "c.write 7", "c.abort")


def is_pair(callback: str, call: str, kind: str) -> bool:
    own = call.split()[0]
    if callback == "factory" and not call.startswith("loop."):
        return False  # there is no transport yet; what it throws: scenarios/differences.txt
    if own in ("answer", "lend") and (own, callback) not in (("answer", "eof_received"),
                                                            ("lend", "get_buffer")):
        return False
    if callback == "get_buffer" and kind == "tls":
        return False  # how often it is asked hangs on how the ciphertext comes
    if call == "peer.send 3" and kind == "tcp":
        return False  # what arrives before a close would be the kernel's choice
    return True


def pair_name(callback: str, call: str, kind: str, side: str, closing: bool) -> str:
    words = re.sub(r"[^a-z0-9]+", "_", call)
    return f"pair_{callback}_{words}_{kind}_{side}" + ("_closing" if closing else "")


def pair(callback: str, call: str, kind: str, side: str, closing: bool) -> str:
    buffered = " buffered" if callback in BUFFERED else ""
    steps = (PROVOKE_CLOSING if closing else PROVOKE)[callback]
    if kind == "tls":  # whether the kernel takes one record more at once is its own choice
        steps = [step.replace("limits low=0", "limits high=100000 low=0") for step in steps]
    name = pair_name(callback, call, kind, side, closing)
    head = "on a" if callback == "call" else f"on c {callback} 1"
    own = call
    if callback == "call" and not call.startswith(("loop.", "raise")):
        own = f"c.{call}"
    # While it drains, how much is left is the kernel's choice: not asked for then.
    if call == "size" and callback == "resume_writing" and closing:
        own = "is_closing"
    return "\n".join([f"scenario {name}", AMEND, f"link c {kind} {side}{buffered}",
                      f"{head}: {own}", "c.open", *steps, *AFTERMATH, ""])


def pair_scenarios() -> dict[str, str]:
    """Their texts, by name."""
    texts = {}
    for kind, side in (("tcp", "client"), ("unix", "server"), ("tls", "client"),
                       ("tls", "server")):
        for closing, table in ((False, PROVOKE), (True, PROVOKE_CLOSING)):
            for callback in table:
                for call in CALLS:
                    if is_pair(callback, call, kind):
                        of = (callback, call, kind, side, closing)
                        texts[pair_name(*of)] = pair(*of)
    return texts


# --- random ones ----------------------------------------------------------------------------
#
# Whatever is chosen, the outcome must not hang on timing. So: what hangs on the kernel's choice is
# not asked (the size while it drains), nothing is sent to a TCP link in the breath in which it may
# close, drains are not crossed with timers, and one link at most acts on another. A peer of a link
# that writes in its callbacks does not close but end: ferry sends what a callback wrote when it
# returns, asyncio at once, and so they would hear of the failure one after the other.

SIZES = ("1", "10", "100", "1000", "3000")
MARKS = ("high=100000", "high=65536 low=0", "high=200000 low=1000", "low=20000", "high=1 low=2",
         "low=-1", "")
QUIET = ("is_closing", "is_reading", "get_limits", "can_write_eof", "names")


class Maker:
    def __init__(self, seed: int, kinds: tuple[str, ...]):
        self.seed, self.kinds = seed, kinds
        self.random = random.Random(seed)
        self.lines: list[str] = []
        self.links: dict[str, str] = {}  # name -> kind
        self.slow_readers: set[str] = set()  # that get no big input: how it is cut is free
        self.writers: set[str] = set()  # that write in a callback, or keep writing after an end
        self.early: set[str] = set()  # that write before they have read
        self.left: set[str] = set()  # whose peer has closed
        self.calls = 0
        self.crossed = False

    def one(self, *choices: str) -> str:
        return self.random.choice(choices)

    def chance(self, percent: int) -> bool:
        return self.random.randrange(100) < percent

    def method(self, callback: str, big: bool = True) -> str:
        """A call of a transport, without its target."""
        draw = self.random.randrange(20)
        if draw < 5:
            return "write " + (self.one(*SIZES, "0") if not big or self.chance(75) else "big")
        if draw < 7:
            sizes = [self.one(*SIZES, "0") for _ in range(3)]
            if big and self.chance(20):
                sizes[1] = "big"
            return "writelines " + " ".join(sizes)
        if draw < 9:
            return self.one("pause_reading", "resume_reading")
        if draw < 11:
            return self.one("close", "abort", "write_eof")
        if draw < 12:
            return self.one("set_protocol plain", "set_protocol buffered")
        if draw < 13:
            return ("limits " + self.one(*MARKS)).strip()
        if draw < 15 and callback in ("", "connection_made", "data_received", "connection_lost"):
            return "size"
        return self.one(*QUIET)

    def reaction(self, name: str) -> None:
        callback = self.one("connection_made", "data_received", "eof_received", "pause_writing",
                            "resume_writing", "connection_lost", "data_received", "buffer_updated",
                            "get_buffer")
        if callback == "get_buffer" and self.links[name] == "tls":  # as for pairs
            callback = "buffer_updated"
        number = self.one("1", "1", "1", "2", "3")
        actions = []
        if callback == "resume_writing" and self.chance(30):  # where asyncio went wrong (C-12)
            actions.append("close")
        for _ in range(self.random.randrange(1, 4)):
            draw = self.random.randrange(12)
            if draw == 0:
                actions.append("raise " + self.one("user", "os"))
                break
            if draw == 1 and callback == "eof_received":
                actions.append("answer yes")
                self.writers.add(name)
            elif draw == 2:
                actions.append("loop.call_soon " + self.new_call(name))
            elif draw == 3 and self.links[name] == "unix":
                actions.append("peer.send " + self.one(*SIZES))
            elif draw == 4 and not self.crossed and name != min(self.links):
                self.crossed = True
                actions.append(min(self.links) + "." + self.method("other", big=False))
            else:
                actions.append(self.method(callback))
        self.note_writes(name, callback, actions)
        if callback in ("data_received", "buffer_updated", "get_buffer") or any(
                "pause" in action for action in actions):
            self.slow_readers.add(name)
        self.lines.append(f"on {name} {callback} {number}: {', '.join(actions)}")

    def note_writes(self, name: str, callback: str, actions: list[str]) -> None:
        for action in actions:
            target, _, verb = action.rpartition(".")
            if verb.startswith("write"):
                self.writers.add(target or name)
            if verb.startswith("write") and callback == "get_buffer":
                self.early.add(name)

    def new_call(self, owner: str) -> str:
        """A named call that acts on its owner; what that call schedules acts on nothing."""
        self.calls += 1
        name = f"call{self.calls}"
        actions = [f"{owner}.{self.method('call', big=False)}"
                   for _ in range(self.random.randrange(0, 3))]
        if owner in self.left:  # as for links that write in their callbacks
            actions = [action for action in actions if ".write" not in action]
        # (TLS ends in more turns than one, and how many is free.)
        if self.chance(20) and "tls" not in self.kinds:
            actions.append(f"loop.call_soon {name}_next")
        self.note_writes(owner, "call", actions)
        if any("pause" in action for action in actions):
            self.slow_readers.add(owner)
        if actions:
            self.lines.append(f"on {name}: {', '.join(actions)}")
        return name

    def step(self, name: str) -> list[str]:
        draw = self.random.randrange(24)
        if draw < 7:
            steps = [f"{name}.{self.method('')}"]
            while name not in self.left and self.chance(25):
                steps.append(f"+ {name}.{self.method('')}")
            return steps
        if draw < 13:
            return self.sending(name)
        if draw < 15:
            return [f"{name}.peer.read " + self.one("on", "off")]
        if draw < 16:
            return [f"{name}.peer." + self.leaving(name, "eof", "eof", "close", "reset")]
        if draw < 18:
            marks = [f"{name}.limits low=0"] if self.chance(30) else []
            return [f"{name}.peer.read off", *marks, f"{name}.write big", f"{name}.peer.read on"]
        if draw < 19:
            return [f"{name}.resume_reading"]
        return self.loop_step(name)

    def sending(self, name: str) -> list[str]:
        if name not in self.slow_readers and self.chance(15):
            return [f"{name}.peer.send big"]
        steps = [f"{name}.peer.send {self.one(*SIZES)}"]
        if self.chance(20):
            steps.append(f"+ {name}.peer." + self.leaving(name, "eof", "close", "send 50"))
        elif self.chance(15):
            steps.append(f"+ {name}.pause_reading")
            self.slow_readers.add(name)
        return steps

    def leaving(self, name: str, *ways: str) -> str:
        way = self.one(*ways)
        plain = self.links[name] == "unix" or name in self.early  # a reset is a close
        if self.links[name] == "tls" and name in self.slow_readers:
            return "eof"  # who pauses may have read ahead and see it, or not
        if name in self.writers and (way == "close" or way == "reset" and plain):
            return "eof"
        if way in ("close", "reset"):
            self.left.add(name)
        return way

    def loop_step(self, name: str) -> list[str]:
        draw = self.random.randrange(5)
        if draw == 0:
            return ["loop.call_soon " + self.new_call(name)]
        if draw == 1:
            delays = sorted(self.random.randrange(0, 4) for _ in range(3))
            names = [self.plain_call() for _ in delays]
            steps = [f"loop.call_later {delay} {of}" for delay, of in zip(delays, names)]
            if self.chance(40):
                steps.append("loop.cancel " + self.one(*names))
            return [steps[0], *("+ " + step for step in steps[1:])]
        names = [self.plain_call() for _ in range(3)]
        steps = [f"loop.call_soon {of}" for of in names]
        if draw == 2:
            steps.insert(1, "loop.stop")
        if draw == 3:
            steps.append("loop.cancel " + self.one(*names))
        return [steps[0], *("+ " + step for step in steps[1:])]

    def plain_call(self) -> str:
        self.calls += 1
        return f"call{self.calls}"

    def future_steps(self) -> list[str]:
        self.lines.append("future f")
        steps = [self.one(f"f.then {self.plain_call()}", f"f.await {self.plain_call()}",
                          "f.set_result", "f.set_error", "f.cancel", "f.done", "f.result")
                 for _ in range(6)]
        return [("+ " if at and self.chance(50) else "") + step for at, step in enumerate(steps)]

    def make(self) -> str:
        for name in "cde"[:self.random.randrange(1, 4)]:
            self.links[name] = self.one(*self.kinds)
            buffered = " buffered" if self.chance(35) else ""
            self.lines.append(
                f"link {name} {self.links[name]} {self.one('client', 'server')}{buffered}")
        for name in self.links:
            for _ in range(self.random.randrange(0, 4)):
                self.reaction(name)
        steps = []  # which may add lines still
        for name in self.links:
            steps.append(f"{name}.open")
            for _ in range(self.random.randrange(2, 7)):
                steps += self.step(self.one(*self.links))
        if self.chance(20):
            steps += self.future_steps()
        big = [step for step in steps if step.endswith("peer.send big")]
        steps = [step for step in steps
                 if step not in big or step.split(".")[0] not in self.slow_readers]
        if "tls" in self.kinds:  # as for pairs
            steps = [step.replace("limits low=0", "limits high=100000 low=0") for step in steps]
        name = ("tls_seed_" if "tls" in self.kinds else "seed_") + str(self.seed)
        return "\n".join([f"scenario {name}", AMEND, *self.lines, *steps, ""])


def random_scenario(seed: int, tls: bool = False) -> str:
    return Maker(seed, ("tls",) if tls else ("tcp", "unix")).make()
