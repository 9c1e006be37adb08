"""Scenarios of datagram endpoints that are made: pairs of callback and method, and random ones."""
from __future__ import annotations

import random
import re

AMEND = "amend: A-027 C-11 C-12 C-17 C-22 T-145 T-147"
KINDS = (("udp", "connected"), ("udp", "unconnected"), ("unix", "connected"),
         ("unix", "unconnected"))

# --- pairs ---

# How to come to a callback; the endpoint is c.
PROVOKE = {
    "factory": [],
    "connection_made": [],
    "datagram_received": ["c.peer.send 10"],
    "error_received": ["c.sendto peer big"],
    "pause_writing": ["c.peer.read off", "c.flood"],
    "resume_writing": ["c.peer.read off", "c.flood", "c.peer.read on"],
    "connection_lost": ["c.sendto peer 3", "c.close"],
    "call": ["loop.call_soon a"],
}
PROVOKE_CLOSING = {
    "resume_writing": ["c.peer.read off", "c.flood", "c.close", "c.peer.read on"],
    "connection_lost": ["c.peer.read off", "c.flood", "c.abort"],
    "call": ["c.peer.read off", "c.flood", "c.close", "loop.call_soon a"],
}
CALLS = (
    "send 10", "send 0", "sendto peer 11", "sendto peer 0", "sendto other 12", "sendto peer big",
    "flood", "close", "abort", "is_closing", "size", "limits high=200000", "limits high=0",
    "limits high=2 low=3", "get_limits", "set_protocol", "names", "raise user", "raise os",
    "loop.call_soon x", "loop.stop", "peer.send 3", "other.send 4",
)
AFTERMATH = ("c.peer.read on", "c.sendto peer 5", "c.peer.send 7", "c.other.send 8",
             "c.sendto other 6", "c.send 4", "c.size", "c.close", "c.sendto peer 7", "c.send 0",
             "c.abort")


def is_pair(callback: str, call: str, kind: str, closing: bool) -> bool:
    if callback == "factory" and not call.startswith("loop."):
        return False
    waits = callback in ("pause_writing", "resume_writing") or closing or call == "flood"
    if kind == "udp" and waits:
        return False  # over loopback nothing waits: it is delivered, or dropped
    # Whether one that waited fails before the others are resumed is free.
    return not (call == "sendto peer big" and (waits or callback == "error_received"))


def pair(of: tuple[str, str, str, str, bool], name: str) -> str:
    callback, call, kind, side, closing = of
    head = "on a" if callback == "call" else f"on c {callback} 1"
    own = call
    if callback == "call" and not call.startswith(("loop.", "raise")):
        own = f"c.{call}"
    if call == "size" and callback == "resume_writing":
        own = "is_closing"  # how much is left then is the kernel's choice
    steps = (PROVOKE_CLOSING if closing else PROVOKE)[callback]
    return "\n".join([f"scenario {name}", AMEND, f"endpoint c {kind} {side}", f"{head}: {own}",
                      "c.open", *steps, *AFTERMATH, ""])


def pair_scenarios() -> dict[str, str]:
    """Their texts, by name."""
    texts = {}
    for kind, side in KINDS:
        for closing, table in ((False, PROVOKE), (True, PROVOKE_CLOSING)):
            for callback in table:
                for call in CALLS:
                    if not is_pair(callback, call, kind, closing):
                        continue
                    words = re.sub(r"[^a-z0-9]+", "_", call)
                    name = (f"pair_{callback}_{words}_datagrams_{kind}_{side}"
                            + ("_closing" if closing else ""))
                    texts[name] = pair((callback, call, kind, side, closing), name)
    return texts


# --- random ones ---
#
# Nothing hangs on how many datagrams a turn reads, or on how a full queue drains: what is sent to
# an endpoint comes alone, a flood is a step of its own, and what is too large does not wait in one.

SIZES = ("0", "1", "10", "100", "1000", "3000")
MARKS = ("high=100000", "high=65536 low=0", "high=3000 low=100", "low=20000", "high=1 low=2",
         "low=-1", "")


class Maker:
    def __init__(self, seed: int):
        self.seed = seed
        self.random = random.Random(seed)
        self.lines: list[str] = []
        self.endpoints: dict[str, tuple[str, str]] = {}
        self.senders: set[str] = set()  # that send in a reaction
        self.calls = 0

    def one(self, *choices: str) -> str:
        return self.random.choice(choices)

    def chance(self, percent: int) -> bool:
        return self.random.randrange(100) < percent

    def send(self, name: str, callback: str) -> str:
        if self.endpoints[name][0] == "udp" and not callback and self.chance(10):
            return "sendto peer big"
        return self.one("send ", "sendto peer ", "sendto other ") + self.one(*SIZES)

    def method(self, name: str, callback: str) -> str:
        draw = self.random.randrange(16)
        if draw < 7:
            if callback:
                self.senders.add(name)
            return self.send(name, callback)
        if draw < 9:
            return self.one("close", "abort")
        if draw < 10:
            return "set_protocol"
        if draw < 12:
            return ("limits " + self.one(*MARKS)).strip()
        if draw < 13 and callback not in ("resume_writing", "call"):
            return "size"
        return self.one("is_closing", "get_limits", "names")

    def reaction(self, name: str) -> None:
        callback = self.one("connection_made", "datagram_received", "datagram_received",
                            "error_received", "pause_writing", "resume_writing",
                            "connection_lost")
        actions = []
        if self.chance(15):
            actions.append(self.one("peer", "other") + ".send " + self.one(*SIZES))
        else:
            for _ in range(self.random.randrange(1, 4)):
                draw = self.random.randrange(10)
                if draw == 0:
                    actions.append("raise " + self.one("user", "os"))
                    break
                actions.append("loop.call_soon " + self.new_call(name) if draw == 1
                               else self.method(name, callback))
        number = self.one("1", "1", "2", "3")
        self.lines.append(f"on {name} {callback} {number}: {', '.join(actions)}")

    def new_call(self, owner: str) -> str:
        self.calls += 1
        name = f"call{self.calls}"
        actions = [f"{owner}.{self.method(owner, 'call')}"
                   for _ in range(self.random.randrange(0, 3))]
        if actions:
            self.lines.append(f"on {name}: {', '.join(actions)}")
        return name

    def step(self, name: str) -> list[str]:
        kind, side = self.endpoints[name]
        draw = self.random.randrange(20)
        if draw < 8:
            return [f"{name}.{self.method(name, '')}"]
        if draw < 12:
            return [f"{name}.{self.one('peer', 'peer', 'other')}.send {self.one(*SIZES)}"]
        if draw < 13:
            return [f"{name}.peer.read " + self.one("on", "off")]
        if draw < 16 and kind == "unix":
            marks = [f"{name}.limits low=0"] if self.chance(30) else []
            steps = [f"{name}.peer.read off", *marks, f"{name}.flood"]
            if self.chance(30):
                steps.append(f"{name}." + self.one("close", "abort", "size"))
            return [*steps, f"{name}.peer.read on"]
        if draw < 17 and kind == "udp" and (side == "unconnected" or name not in self.senders):
            return [f"{name}.{self.one('peer', 'other')}.close"]
        return [f"loop.call_soon {self.new_call(name)}"]

    def make(self) -> str:
        for name in "cd"[:self.random.randrange(1, 3)]:
            self.endpoints[name] = self.random.choice(KINDS)
            self.lines.append(f"endpoint {name} {' '.join(self.endpoints[name])}")
        for name in self.endpoints:
            for _ in range(self.random.randrange(0, 4)):
                self.reaction(name)
        steps = []
        for name in self.endpoints:
            steps.append(f"{name}.open")
            for _ in range(self.random.randrange(3, 8)):
                steps += self.step(self.one(*self.endpoints))
        return "\n".join([f"scenario udp_seed_{self.seed}", AMEND, *self.lines, *steps, ""])


def random_scenario(seed: int) -> str:
    return Maker(seed).make()
