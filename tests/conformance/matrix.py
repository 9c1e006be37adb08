"""What was met: methods × callbacks, and the edges of a stream's life, with what was not (holes).

Counted in ferry's traces, played with --phases: "PHASE| line", where a line "~" tells the phase
after a method. The phases are those of src/protocols/stream_life.hpp.
"""
from __future__ import annotations

import re
from collections import Counter

from scenario import (CALLBACKS, DATAGRAM_CALLBACKS, DATAGRAM_KINDS, KINDS, PIPE_KINDS, PIPE_SIDES,
                      VERBS, Link, Scenario)

METHODS = tuple(verb for verb in VERBS["link"] if verb not in ("open", "has_pipe"))
# What else may be done inside a callback.
OTHERS = ("raise", "answer", "lend", "call_soon", "stop")
INSIDE = (*CALLBACKS, "call")
CALLBACK = re.compile(
    rf"(?:#\d+ )?({'|'.join({*INSIDE, *DATAGRAM_CALLBACKS})})\b(?: (\w+)$)?")
# The same of datagram endpoints.
ENDPOINTS = tuple(f"{kind} datagrams" for kind in DATAGRAM_KINDS)
ENDPOINT_METHODS = tuple(verb for verb in VERBS["endpoint"] if verb != "open")
ENDPOINT_OTHERS = ("raise", "call_soon", "stop")
INSIDE_ENDPOINT = (*DATAGRAM_CALLBACKS, "call")
# The same of pipes, which have one direction.
PIPES = tuple(f"{kind} {side}" for kind in PIPE_KINDS for side in PIPE_SIDES)
PIPE_METHODS = ("close", "is_closing", "set_protocol", "names", "has_pipe")
READER_METHODS = (*PIPE_METHODS, "pause_reading", "resume_reading", "is_reading")
WRITER_METHODS = (*PIPE_METHODS, "write", "writelines", "write_eof", "can_write_eof", "abort",
                  "size", "limits", "get_limits")
INSIDE_READER = ("factory", "connection_made", "data_received", "eof_received", "connection_lost",
                 "call")
INSIDE_WRITER = ("factory", "connection_made", "pause_writing", "resume_writing", "connection_lost",
                 "call")

# Pairs that cannot be, and why.
IMPOSSIBLE = {
    **{("factory", method): "there is no transport yet" for method in (*METHODS, "has_pipe")},
    **{(callback, "answer"): "only eof_received() answers" for callback in INSIDE
       if callback != "eof_received"},
    **{(callback, "lend"): "only get_buffer() lends" for callback in INSIDE
       if callback != "get_buffer"},
}


def is_possible(kind: str, callback: str, method: str) -> bool:
    if kind == "udp datagrams" and (method == "flood" or callback.endswith("_writing")):
        return False  # over loopback nothing waits
    if kind in ENDPOINTS and callback == "factory":
        return method in ENDPOINT_OTHERS
    return (callback, method) not in IMPOSSIBLE


def parts_of(kind: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Methods and what else may be done, and the callbacks."""
    if kind in ENDPOINTS:
        return (*ENDPOINT_METHODS, *ENDPOINT_OTHERS), INSIDE_ENDPOINT
    if kind.endswith(" reader"):
        return (*READER_METHODS, "raise", "answer", "call_soon", "stop"), INSIDE_READER
    if kind.endswith(" writer"):
        return (*WRITER_METHODS, "raise", "call_soon", "stop"), INSIDE_WRITER
    return (*METHODS, *OTHERS), INSIDE


def kind_of(link: Link) -> str:
    return f"{link.kind} {link.side}" if link.kind in PIPE_KINDS else link.kind


# The edges of StreamLife: event, phase before, phase after.
EDGES = (
    ("opened", "opening", "open"),
    ("bytes", "open", "open"),
    ("end, answered yes", "open", "open"),
    ("end, answered no", "open", "flushing"),
    ("end, answered no", "open", "closed"),
    ("close", "open", "flushing"),
    ("close", "open", "closed"),
    ("close", "flushing", "flushing"),
    ("close", "closed", "closed"),
    ("drained", "flushing", "closed"),
    ("abort", "open", "closed"),
    ("abort", "flushing", "closed"),
    ("abort", "closed", "closed"),
    ("failed", "open", "closed"),
    ("failed", "flushing", "closed"),
    ("threw", "open", "closed"),
    ("threw", "flushing", "closed"),
    ("threw", "closed", "closed"),
    ("write", "open", "closed"),  # it fails at once
    *((method, phase, phase) for method in METHODS if method not in ("close", "abort")
      for phase in ("open", "flushing", "closed")),
    ("abort", "opening", "closed"),
    ("drained", "finishing", "closed"),
)
# Holes that stay, and why.
WHY = {
    ("abort", "opening", "closed"): "nobody but its server knows a connection in this phase, and "
                                    "asyncio makes it first and then loses it",
    ("drained", "finishing", "closed"): "TCP and Unix streams end in one step; TLS will not",
}
FATAL = ("data_received", "buffer_updated", "get_buffer", "eof_received")


class Matrix:
    def __init__(self) -> None:
        self.pairs: Counter[tuple[str, str, str]] = Counter()  # kind, callback, method
        self.edges: Counter[tuple[str, str, str]] = Counter()

    def take(self, script: Scenario, actors: dict[str, list[str]]) -> None:
        for actor, lines in actors.items():
            if actor.endswith((".peer", ".other")) or actor in script.servers:
                continue
            split = [line.split("| ", 1) for line in lines]
            self.take_pairs(script, actor, [text for _, text in split])
            if actor in script.links:
                Walk(self.edges, actor).walk(split)

    def take_pairs(self, script: Scenario, actor: str, lines: list[str]) -> None:
        inside: list[str] = []  # the callback at each depth; empty: a method
        for line in lines:
            text = line.strip()
            if text == "~":
                continue
            del inside[(len(line) - len(text)) // 2:]
            callback = CALLBACK.match(text)
            where = inside[-1] if inside else ""
            inside.append(callback.group(1) if callback else "")
            target, _, verb = text.split(" ")[0].rpartition(".")
            if callback or not where:
                continue
            own = actor if target in ("", "loop") else target
            if own in script.links:
                kinds = (kind_of(script.links[own]),)
            elif own in script.endpoints:
                kinds = (f"{script.endpoints[own].kind} datagrams",)
            else:  # what a call of the loop's does belongs to nobody
                kinds = (*KINDS, *ENDPOINTS, *PIPES) if verb in OTHERS else ()
            for kind in kinds:
                if verb in parts_of(kind)[0]:
                    self.pairs[kind, where, verb] += 1

    def shown(self) -> str:
        parts = []
        for kind in (*KINDS, *ENDPOINTS, *PIPES):
            parts += [f"What was called inside which callback, {kind}:",
                      table(*parts_of(kind), lambda method, callback, of=kind: (
                          self.pairs[of, callback, method] if is_possible(of, callback, method)
                          else ".")), ""]
        ways = sorted({(before, after) for _, before, after in [*self.edges, *EDGES]})
        events = list(dict.fromkeys(event for event, _, _ in [*EDGES, *self.edges]))
        parts += ["The edges of a stream's life, and each method in each phase:",
                  table(events, [f"{before}>{after}" for before, after in ways],
                        lambda event, way: self.edges[(event, *way.split(">"))] or (
                            0 if (event, *way.split(">")) in EDGES else "."))]
        holes = self.holes()
        return "\n".join([*parts, "", f"{len(holes)} holes:", *("  " + hole for hole in holes)])

    def holes(self) -> list[str]:
        pairs = [f"{method} inside {callback}, {kind}" for kind in (*KINDS, *ENDPOINTS, *PIPES)
                 for callback in parts_of(kind)[1] for method in parts_of(kind)[0]
                 if is_possible(kind, callback, method) and not self.pairs[kind, callback, method]]
        return pairs + [f"{event}: {before} -> {after}" + (f" ({WHY[edge]})" if edge in WHY else "")
                        for edge in EDGES for event, before, after in [edge]
                        if not self.edges[edge]]


class Walk:
    """One link's trace, as a walk through the phases."""

    def __init__(self, edges: Counter, actor: str):
        self.edges = edges
        self.actor = actor
        self.phase = "opening"
        self.methods: list[tuple[str, str]] = []  # those that are running: name, phase before
        self.pending: list[tuple[str, str]] = []  # what has its effect after this callback
        self.inside = ""  # the callback that is running
        self.answer = "no"

    def walk(self, lines: list[list[str]]) -> None:
        for phase, line in lines:
            text = line.strip()
            if line == text and text != "~" and not text.startswith("handler"):
                self.settle(phase if phase != "none" else "opening")
            self.line(phase, text)
        self.settle(self.phase)

    def settle(self, phase: str) -> None:
        """The callback before has ended, and what it led to shows."""
        for event, before in self.pending:
            if event == "end":
                event = f"end, answered {self.answer}"
            self.edges[event, before, phase] += 1
        self.pending.clear()

    def line(self, phase: str, text: str) -> None:
        callback = CALLBACK.match(text)
        verb = text.removeprefix("* ").removeprefix(self.actor + ".").split(" ")[0]
        if text == "~":
            if self.methods:
                method, before = self.methods.pop()
                if "none" not in (before, phase):
                    self.edges[method, before, phase] += 1
        elif callback:
            self.callback(callback.group(1), callback.group(2), phase)
        elif verb in VERBS["link"]:
            self.methods.append((verb, phase))
        elif verb == "raise" and self.inside in FATAL:
            # The end's own effect is that of the exception.
            self.pending = [("threw", phase)]
        elif text == "answer yes":
            self.answer = "yes"
        if phase != "none":
            self.phase = phase

    def callback(self, name: str, reason: str | None, phase: str) -> None:
        self.inside = name
        if name == "connection_made":
            self.edges["opened", "opening", phase] += 1
        elif name in ("data_received", "buffer_updated"):
            self.edges["bytes", phase, phase] += 1
        elif name == "eof_received":
            self.answer = "no"
            self.pending.append(("end", phase))
        elif name == "connection_lost" and reason != "none" and self.phase != "closed":
            self.edges["failed", self.phase, phase] += 1
        elif name == "connection_lost" and self.phase == "flushing":
            self.edges["drained", "flushing", phase] += 1


def table(rows, columns, count) -> str:
    """Counts; a hole is "-"."""
    heads = [column.replace("connection_", "").replace("_received", "").replace("_writing", "")
             for column in columns]
    first = max(map(len, rows)) + 1
    lines = [" " * first + "".join(f" {head:>{max(6, len(head))}}" for head in heads)]
    for row in rows:
        cells = [str(count(row, column) or "-") for column in columns]
        lines.append(f"{row:<{first}}" + "".join(
            f" {cell:>{max(6, len(head))}}" for cell, head in zip(cells, heads)))
    return "\n".join(lines)
