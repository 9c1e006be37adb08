"""The scenario language: README.md describes it, this file reads it."""
from __future__ import annotations

import re
from dataclasses import dataclass, field

SMALL = 16384  # up to this much in all, the kernel takes what is sent though nobody reads
BIG = 1 << 20  # "big": more than the kernel takes

CALLBACKS = ("factory", "connection_made", "data_received", "eof_received", "pause_writing",
             "resume_writing", "connection_lost", "get_buffer", "buffer_updated")
KINDS = ("tcp", "unix", "tls")
SIDES = ("client", "server")
PIPE_KINDS = ("pipe", "fifo", "socketpair")  # what connect_read_pipe() and its kin take
PIPE_SIDES = ("reader", "writer")
DATAGRAM_CALLBACKS = ("factory", "connection_made", "datagram_received", "error_received",
                      "pause_writing", "resume_writing", "connection_lost")
DATAGRAM_KINDS = ("udp", "unix")

NAME = re.compile(r"[a-z][a-z0-9_]*")
ROW = re.compile(r"[SCAT]-\d+")
VERSION = re.compile(r"3\.\d{1,3}")

# What stands behind a verb, by target: the kind of each argument; "…" repeats the last one.
VERBS = {
    "link": {
        "open": (), "write": ("size",), "writelines": ("size", "…"), "write_eof": (),
        "can_write_eof": (), "close": (), "abort": (), "pause_reading": (), "resume_reading": (),
        "is_closing": (), "is_reading": (), "size": (), "limits": ("mark", "…"),
        "get_limits": (), "set_protocol": ("protocol",), "names": (), "start_tls": (),
        "has_pipe": (),
    },
    "endpoint": {
        "open": (), "send": ("size",), "sendto": ("far", "size"), "flood": (), "close": (),
        "abort": (), "is_closing": (), "size": (), "limits": ("mark", "…"), "get_limits": (),
        "set_protocol": (), "names": (),
    },
    "far": {"send": ("size",), "read": ("switch",), "close": ()},
    "peer": {
        "send": ("size",), "eof": (), "close": (), "reset": (), "read": ("switch",),
        "take": ("number",), "refuse": (),
    },
    "server": {
        "start": (), "close": (), "wait_closed": (), "start_serving": (), "is_serving": (),
        "sockets": (), "close_clients": (), "abort_clients": (),
    },
    "future": {
        "set_result": (), "set_error": (), "cancel": (), "done": (), "result": (),
        "then": ("name",), "await": ("name",),
    },
    "loop": {
        "call_soon": ("name",), "call_soon_threadsafe": ("name",), "call_later": ("number", "name"),
        "cancel": ("name",), "cancelled": ("name",), "stop": (), "turns": ("number",),
    },
    # Not calls: what the callback itself does. Only in reactions.
    "self": {"raise": ("reason",), "answer": ("answer",), "lend": ("nothing",)},
}
ONLY_IN = {"answer": "eof_received", "lend": "get_buffer"}
FAR = (".peer", ".other")  # of an endpoint
ARGUMENTS = {
    "size": re.compile(r"big|\d{1,5}"), "number": re.compile(r"\d{1,7}"), "name": NAME,
    "mark": re.compile(r"(?:high|low)=(?:-?\d{1,9}|\+\d{1,9})"), "switch": re.compile(r"on|off"),
    "protocol": re.compile(r"plain|buffered"), "reason": re.compile(r"user|os"),
    "answer": re.compile(r"yes|no"), "nothing": re.compile(r"nothing"),
    "far": re.compile(r"peer|other|v6"),
}
WORDS = {
    "size": f"a number of bytes up to {SMALL}, or 'big'", "number": "a number", "name": "a name",
    "mark": "high=N or low=N (N: bytes, or +N: so many more than are buffered)",
    "switch": "'on' or 'off'", "protocol": "'plain' or 'buffered'", "reason": "'user' or 'os'",
    "answer": "'yes' or 'no'", "nothing": "'nothing'",
    "far": "'peer', 'other' or 'v6'",
}


class Mistake(Exception):
    """Something in a scenario that cannot be: "file:line: what was expected"."""


@dataclass(frozen=True)
class Action:
    target: str  # a name, "loop", "NAME.peer"; empty: the callback itself
    kind: str    # a key of VERBS
    verb: str
    args: tuple[str, ...]
    text: str
    joined: bool = False  # a step that does not wait for what the one before it set in motion


@dataclass(frozen=True)
class Reaction:
    callback: str  # of a link; "call" for a named call
    number: int    # only in the call of this number; 0: in each
    actions: tuple[Action, ...]


@dataclass(frozen=True)
class Link:
    name: str
    kind: str
    side: str
    server: str  # the name of a declared server, or empty
    buffered: bool


@dataclass(frozen=True)
class Endpoint:
    name: str
    kind: str
    connected: bool


@dataclass(frozen=True)
class Server:
    name: str
    kind: str
    idle: bool  # bound, but not serving yet


@dataclass
class Difference:
    row: str
    actor: str
    until: tuple[int, ...]  # the last CPython that differs; empty: every one
    line: int
    trace: list[str] = field(default_factory=list)  # ferry's


@dataclass
class Scenario:
    name: str
    file: str
    line: int
    needs: tuple[int, ...] = (3, 11)
    rows: list[str] = field(default_factory=list)
    amend: list[str] = field(default_factory=list)
    differs: list[Difference] = field(default_factory=list)
    links: dict[str, Link] = field(default_factory=dict)
    servers: dict[str, Server] = field(default_factory=dict)
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    futures: list[str] = field(default_factory=list)
    reactions: dict[str, list[Reaction]] = field(default_factory=dict)
    steps: list[Action] = field(default_factory=list)
    text: list[str] = field(default_factory=list)

    def where(self) -> str:
        return f"{self.file}:{self.line}"


def version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


class Reader:
    """One file, line by line."""

    def __init__(self, file: str, text: str):
        self.file = file
        self.lines = text.splitlines()
        self.number = 0
        self.scenarios: list[Scenario] = []

    def fail(self, expected: str) -> Mistake:
        return Mistake(f"{self.file}:{self.number}: expected {expected}")

    @property
    def now(self) -> Scenario:
        return self.scenarios[-1]

    def read(self) -> list[Scenario]:
        for self.number, raw in enumerate(self.lines, 1):
            line = raw.strip()
            if not line.startswith("|"):  # in a trace, "#2" is a protocol
                line = line.split("#", 1)[0].strip()
            words = line.split()
            if words and words[0] == "scenario":
                self.begin(words)
            elif words:
                if not self.scenarios:  # a file of one needs no name
                    stem = re.sub(r".*/|\.[^./]*$", "", self.file)
                    self.scenarios.append(Scenario(stem, self.file, self.number))
                self.line(line, words)
            if self.scenarios:
                self.now.text.append(raw)
        self.number += 1
        if not self.scenarios:
            raise self.fail("a scenario; this file has none")
        self.finish()
        return self.scenarios

    def begin(self, words: list[str]) -> None:
        if len(words) != 2:
            raise self.fail("'scenario NAME', a name without spaces")
        if self.scenarios:
            self.finish()
        if any(known.name == words[1] for known in self.scenarios):
            raise self.fail(f"another name: '{words[1]}' stands here twice")
        self.scenarios.append(Scenario(words[1], self.file, self.number))

    def finish(self) -> None:
        if not self.now.steps:
            raise self.fail(f"a step: scenario '{self.now.name}' has none")

    def line(self, line: str, words: list[str]) -> None:
        first = words[0]
        if line.startswith("|"):
            if not self.now.differs:
                raise self.fail("'differs: ROW ACTOR' before the lines of ferry's trace")
            self.now.differs[-1].trace.append(line[1:].rstrip().removeprefix(" "))
        elif first in ("needs:", "rows:", "amend:", "differs:"):
            getattr(self, first[:-1])(words[1:])
        elif first in ("link", "endpoint", "server", "future", "on"):
            getattr(self, "declare_" + first)(words[1:], line)
        else:
            joined = first == "+"
            text = line[1:].strip() if joined else line
            self.now.steps.append(self.action(text, "", joined))

    # --- what a scenario says of itself ---

    def needs(self, words: list[str]) -> None:
        if len(words) != 1 or not VERSION.fullmatch(words[0]):
            raise self.fail("'needs: 3.N', the oldest CPython that can run this")
        self.now.needs = version(words[0])

    def rows_of(self, words: list[str]) -> list[str]:
        if not words or not all(map(ROW.fullmatch, words)):
            raise self.fail("rows of the contract, like C-10")
        return words

    def rows(self, words: list[str]) -> None:
        self.now.rows += self.rows_of(words)

    def amend(self, words: list[str]) -> None:
        self.now.amend += self.rows_of(words)

    def differs(self, words: list[str]) -> None:
        until: tuple[int, ...] = ()
        if len(words) == 4 and words[2] == "until" and VERSION.fullmatch(words[3]):
            until = version(words[3])
            words = words[:2]
        if len(words) != 2 or not ROW.fullmatch(words[0]):
            raise self.fail("'differs: ROW ACTOR' or 'differs: ROW ACTOR until 3.N'")
        self.now.differs.append(Difference(words[0], words[1], until, self.number))

    # --- who takes part ---

    def new_name(self, word: str) -> str:
        taken = [*self.now.links, *self.now.endpoints, *self.now.servers, *self.now.futures, "loop"]
        if not NAME.fullmatch(word):
            raise self.fail(f"a name in small letters, not '{word}'")
        if word in taken:
            raise self.fail(f"a new name: '{word}' is taken")
        return word

    def declare_link(self, words: list[str], _line: str) -> None:
        usage = ("'link NAME tcp|unix|tls client|server [buffered]', "
                 "'link NAME pipe|fifo|socketpair reader|writer' or "
                 "'link NAME at SERVER [buffered]'")
        buffered = words[-1:] == ["buffered"]
        words = words[:-1] if buffered else words
        if len(words) != 3:
            raise self.fail(usage)
        name = self.new_name(words[0])
        if words[1] == "at":
            if words[2] not in self.now.servers:
                raise self.fail(f"a server's name: no 'server {words[2]} …' stands above")
            kind = self.now.servers[words[2]].kind
            self.now.links[name] = Link(name, kind, "server", words[2], buffered)
        elif (words[1] in KINDS and words[2] in SIDES) or (
                words[1] in PIPE_KINDS and words[2] in PIPE_SIDES and not buffered):
            self.now.links[name] = Link(name, words[1], words[2], "", buffered)
        else:
            raise self.fail(usage)

    def declare_endpoint(self, words: list[str], _line: str) -> None:
        sides = ("connected", "unconnected")
        if len(words) != 3 or words[1] not in DATAGRAM_KINDS or words[2] not in sides:
            raise self.fail("'endpoint NAME udp|unix connected|unconnected'")
        name = self.new_name(words[0])
        self.now.endpoints[name] = Endpoint(name, words[1], words[2] == "connected")

    def declare_server(self, words: list[str], _line: str) -> None:
        if len(words) not in (2, 3) or words[1] not in KINDS or words[2:] not in ([], ["idle"]):
            raise self.fail("'server NAME tcp|unix|tls [idle]'")
        name = self.new_name(words[0])
        self.now.servers[name] = Server(name, words[1], len(words) == 3)

    def declare_future(self, words: list[str], _line: str) -> None:
        if len(words) != 1:
            raise self.fail("'future NAME'")
        self.now.futures.append(self.new_name(words[0]))

    def declare_on(self, words: list[str], line: str) -> None:
        head, colon, tail = line.partition(":")
        words = head.split()[1:]
        if not colon or not words:
            raise self.fail("'on LINK CALLBACK [NUMBER]: ACTION, ACTION …' or 'on NAME: ACTION …'")
        who, callback, number = words[0], "call", ""
        known = self.callbacks_of(who)
        if known:
            if len(words) not in (2, 3) or words[1] not in known:
                raise self.fail(f"a callback after '{who}': {', '.join(known)}")
            callback, number = words[1], "".join(words[2:])
        elif len(words) > 1 or not NAME.fullmatch(who):
            raise self.fail(f"a link that stands above, or the name of a call, not '{who}'")
        if number and not re.fullmatch(r"[1-9]\d{0,6}", number):
            raise self.fail(f"which call of it, counted from 1, not '{number}'")
        own = who if known else ""
        actions = tuple(self.action(part.strip(), own, False, callback)
                        for part in tail.split(","))
        reaction = Reaction(callback, int(number or 0), actions)
        self.now.reactions.setdefault(who, []).append(reaction)

    def callbacks_of(self, who: str) -> tuple[str, ...]:
        if who in self.now.links:
            return CALLBACKS
        return DATAGRAM_CALLBACKS if who in self.now.endpoints else ()

    # --- what happens ---

    def kind_of(self, target: str) -> str:
        if target in self.now.links:
            return "link"
        if target.endswith(".peer") and target[:-5] in self.now.links:
            return "peer"
        if target in self.now.endpoints:
            return "endpoint"
        if target.endswith(FAR) and target.rpartition(".")[0] in self.now.endpoints:
            return "far"
        if target in self.now.servers:
            return "server"
        if target in self.now.futures:
            return "future"
        if target == "loop":
            return "loop"
        raise self.fail("a link, a link's peer, an endpoint, a server, a future or the loop, "
                        f"not '{target}'")

    def action(self, text: str, own: str, joined: bool, reacting: str = "") -> Action:
        words = text.split()
        if not words:
            raise self.fail("an action")
        target, dot, verb = words[0].rpartition(".")
        if reacting and not dot and verb in VERBS["self"]:
            if ONLY_IN.get(verb, reacting) != reacting:
                raise self.fail(f"'{verb}' in {ONLY_IN[verb]} only")
            return self.checked(Action("", "self", verb, tuple(words[1:]), text))
        if own and (not dot or target in ("peer", "other")):
            target = own + ("." + target if dot else "")
        elif not dot:
            raise self.fail(f"TARGET.VERB, like c.write, not '{words[0]}'")
        kind = self.kind_of(target)
        if reacting and (kind, verb) in (("loop", "turns"), ("link", "open"),
                                          ("endpoint", "open")):
            raise self.fail(f"another verb: '{verb}' is for steps only")
        return self.checked(Action(target, kind, verb, tuple(words[1:]), text, joined))

    def checked(self, action: Action) -> Action:
        verbs = VERBS[action.kind]
        if action.verb not in verbs:
            raise self.fail(f"a verb of a {action.kind}: {', '.join(verbs)}; not '{action.verb}'")
        kinds = list(verbs[action.verb])
        if kinds[-1:] == ["…"]:
            kinds = [kinds[0]] * max(len(action.args), action.verb != "limits")
        if len(kinds) != len(action.args):
            raise self.fail(f"{len(kinds)} argument(s) of '{action.verb}', "
                            f"not {len(action.args)}")
        for kind, word in zip(kinds, action.args):
            if not ARGUMENTS[kind].fullmatch(word) or (
                    kind == "size" and word != "big" and int(word) > SMALL):
                raise self.fail(f"{WORDS[kind]} after '{action.verb}', not '{word}'")
        return action


def read(file: str, text: str) -> list[Scenario]:
    return Reader(file, text).read()
