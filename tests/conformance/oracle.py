#!/usr/bin/env python3
"""Plays scenarios on ferry and on CPython's asyncio, and compares what the protocols saw.

    run FILE…                  the scenarios in these files
    run --pairs [PATTERN]      every callback with every method called inside it, generated; or
                               those of them whose names match
    run --random SEED COUNT    COUNT scenarios made from SEED, SEED+1 …
    run --random-tls SEED COUNT   the same over TLS
    run --random-udp SEED COUNT   the same of datagram endpoints
    run --random-pipes SEED COUNT   the same of pipes
    run --print NAME           a generated scenario as text: pair_…, seed_N, tls_seed_N,
                               udp_seed_N or pipes_seed_N
    run --matrix               plays all of these and prints what was met: callback × method, and
                               event × phase, with the holes

    --driver PATH     ferry_driver (default: the newest one below build/)
    --python PATH     the CPython to compare with (default: the one that runs this)
    --backend NAME    ferry's backend (default: FERRY_TEST_BACKEND, or the system's own)
    --patience SEC    how long a step may wait for what must come (default: 10)
    --verbose         prints the traces too

Exit code: 0 all is as it should be, 1 something differs, 2 a mistake in a scenario or in a command.
"""
from __future__ import annotations

import argparse
import difflib
import os
import re
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import amended
import generate
import generate_datagrams
import generate_pipes
import matrix
import scenario as language
from scenario import Mistake, Scenario

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
GENERATED = "generated"  # in place of a file
OLDEST = (3, 11)  # whose asyncio the scenarios were written for


class Refused(Exception):
    """A command that cannot be carried out."""


@dataclass
class Trace:
    """What one scenario gave on one side: a list of lines per actor."""
    name: str
    actors: dict[str, list[str]] = field(default_factory=dict)
    phases: dict[str, list[str]] = field(default_factory=dict)  # as actors, with "PHASE| " before
    skipped: bool = False

    def text(self) -> str:
        return "\n".join(f"    {actor}| {line}" for actor, lines in self.actors.items()
                         for line in lines)


def traces(output: str) -> list[Trace]:
    found: list[Trace] = []
    for line in output.splitlines():
        if line.startswith("== "):
            found.append(Trace(line[3:]))
        elif line == "-- skipped":
            found[-1].skipped = True
        elif found:
            actor, _, text = line.partition("| ")
            actor, _, phase = actor.partition("@")
            found[-1].phases.setdefault(actor, []).append(f"{phase}| {text}")
            if text != "~":
                found[-1].actors.setdefault(actor, []).append(text)
    return found


# --- the two sides ---

def python_version(python: str) -> tuple[int, ...] | None:
    """None: it cannot be run, or is no CPython."""
    ask = ("import sys; print(*sys.version_info[:3]) "
           "if sys.implementation.name == 'cpython' else sys.exit(1)")
    try:
        answer = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True)
        return tuple(int(part) for part in answer.stdout.split())
    except (OSError, subprocess.CalledProcessError, ValueError):
        return None


def newest_driver() -> Path:
    found = [path for path in ROOT.glob("build*/**/ferry_driver*")
             if path.is_file() and os.access(path, os.X_OK)]
    if not found:
        raise Refused("no ferry_driver below build/: build it, or say --driver PATH")
    return max(found, key=lambda path: path.stat().st_mtime)


class Sides:
    def __init__(self, chosen: argparse.Namespace):
        if chosen.driver and not os.access(chosen.driver, os.X_OK):
            raise Refused(f"no program that runs at '{chosen.driver}'")
        self.driver = str(chosen.driver or newest_driver())
        self.options = ["--patience", str(chosen.patience)]
        self.more = ["--phases"] if chosen.matrix else []
        self.environment = dict(os.environ)
        if chosen.backend:
            self.environment["FERRY_TEST_BACKEND"] = chosen.backend
        self.version = python_version(chosen.python)
        self.python = chosen.python
        self.why_alone = ""
        if self.version is None:
            self.why_alone = f"no CPython that runs at '{chosen.python}'"
        elif self.version < OLDEST:
            shown = ".".join(map(str, self.version))
            self.why_alone = f"CPython {shown} has an asyncio older than 3.11's"

    def play(self, files: list[str]) -> tuple[list[Trace], list[Trace] | None, list[str]]:
        """Ferry's traces, asyncio's (None: there is no oracle), and what went wrong."""
        commands = [("ferry", [self.driver, *self.options, *self.more, *files])]
        if not self.why_alone:
            oracle = str(HERE / "asyncio_driver.py")
            commands.append(("asyncio", [self.python, oracle, *self.options, *files]))
        running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                    text=True, env=self.environment) for _, command in commands]
        outputs = [process.communicate() for process in running]
        problems = []
        for (side, _), process, (out, err) in zip(commands, running, outputs):
            if side == "ferry" and process.returncode == 2:
                raise Refused(err.strip())
            if process.returncode != 0 or err:
                problems.append(f"{side}'s driver ended with {process.returncode}: {err.strip()}")
        sides = [traces(out) for out, _ in outputs]
        return sides[0], sides[1] if len(sides) > 1 else None, problems


# --- judging ---

CALLBACK = re.compile(r"(?:#\d+ )?(connection_made|data_received|buffer_updated|eof_received|"
                      r"pause_writing|resume_writing|connection_lost)\b")
LETTERS = {"connection_made": "m", "data_received": "d", "buffer_updated": "d",
           "eof_received": "e", "pause_writing": "p", "resume_writing": "r",
           "connection_lost": "l"}
ORDER = re.compile(r"(m[dpr]*(e[pr]*)?l?)?")
ALTERNATING = re.compile(r"(pr)*p?")


def breaches(trace: Trace) -> list[str]:
    """What is wrong with ferry's trace whatever asyncio says."""
    wrong = [line for line in trace.actors.get("loop", ()) if line.startswith("in vain")]
    for actor, lines in trace.actors.items():
        wrong += [f"{actor}: {line}" for line in lines if "wrong bytes" in line]
        called = [CALLBACK.match(line.strip()) for line in lines]
        story = "".join(LETTERS[match.group(1)] for match in called if match)
        if not ORDER.fullmatch(story):
            wrong.append(f"{actor}: callbacks out of order: {story}")
        if not ALTERNATING.fullmatch(re.sub("[^pr]", "", story)):
            wrong.append(f"{actor}: pause_writing and resume_writing do not alternate: {story}")
    return wrong


def in_words(actor: str, other: list[str], ferry: list[str], name: str = "asyncio") -> list[str]:
    marks = {" ": "    both     ", "-": f"    {name:<8} ", "+": "    ferry    "}
    lines = [f"  {actor}:"]
    for line in difflib.ndiff(other, ferry):
        if line[0] in marks:
            lines.append(marks[line[0]] + line[2:])
    return lines


class Judge:
    def __init__(self, rows: dict[str, bool]):
        self.version: tuple[int, ...] | None = None  # of the CPython at hand
        self.rows = rows
        self.same = self.declared = self.alone = 0
        self.skipped: list[str] = []
        self.failed: list[Scenario] = []

    def check_rows(self, script: Scenario) -> None:
        for row in [*script.rows, *script.amend]:
            if row not in self.rows:
                raise Mistake(f"{script.where()}: expected a row of docs/contract.md, not {row}")
        for row in script.amend:
            if row not in amended.ROWS:
                raise Mistake(f"{script.where()}: expected one of the rows that can be amended "
                              f"({' '.join(sorted(amended.ROWS))}), not {row}")
        for difference in script.differs:
            if not self.rows.get(difference.row, False):
                raise Mistake(f"{script.file}:{difference.line}: expected a C, A or '+' row of "
                              f"docs/contract.md, not {difference.row}")

    def judge(self, script: Scenario, ferry: Trace, oracle: Trace | None) -> list[str]:
        """What is wrong, in words; nothing: all is well."""
        words = breaches(ferry)
        compared = oracle is not None and not oracle.skipped
        for actor in dict.fromkeys([*ferry.actors, *(oracle.actors if compared else ())]):
            mine = ferry.actors.get(actor, [])
            theirs = oracle.actors.get(actor, []) if compared else None
            words += self.judge_actor(script, actor, mine, theirs)
        if words:
            self.failed.append(script)
        elif oracle is None:
            self.alone += 1
        elif oracle.skipped:
            self.skipped.append(f"{script.name} needs CPython "
                                f"{'.'.join(map(str, script.needs))}")
        elif any(self.holds(difference) for difference in script.differs):
            self.declared += 1
        else:
            self.same += 1
        return words

    def holds(self, difference: language.Difference) -> bool:
        return not difference.until or (self.version or (0,))[:2] <= difference.until

    def judge_actor(self, script: Scenario, actor: str, ferry: list[str],
                    oracle: list[str] | None) -> list[str]:
        for difference in script.differs:
            if difference.actor == actor and self.holds(difference):
                if ferry != difference.trace:
                    return [f"  {script.file}:{difference.line}: ferry is not as declared:",
                            *in_words(actor, difference.trace, ferry, "declared")]
                if oracle is not None and ferry == oracle:
                    return [f"  {actor}: {script.file}:{difference.line}: the difference by "
                            f"{difference.row} no longer occurs: take the declaration away"]
                return []
        if oracle is None or ferry == oracle:
            return []
        return in_words(actor, oracle, ferry)


def contract_rows() -> dict[str, bool]:
    """Each row, and whether ferry may differ from asyncio by it: C, A and '+' rows."""
    rows = {}
    text = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8")
    for match in re.finditer(r"^\| ([SCAT]-\d+) \| (\+?)", text, re.M):
        rows[match.group(1)] = match.group(1)[0] in "CA" or match.group(2) == "+"
    return rows


# --- the command ---

class Runner:
    def __init__(self, chosen: argparse.Namespace):
        self.chosen = chosen
        self.judge = Judge(contract_rows())
        self.problems: list[str] = []
        self.met = matrix.Matrix()

    @cached_property
    def sides(self) -> Sides:  # once something is played: what is wrong with a scenario comes first
        return Sides(self.chosen)

    def files(self, paths: list[str]) -> None:
        scripts: list[Scenario] = []
        for path in paths:
            try:
                text = Path(path).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise Mistake(f"{path}:0: expected a text file: {error}") from None
            scripts += language.read(path, text)
        self.play(scripts, paths)

    def texts(self, texts: list[str]) -> None:
        """Generated scenarios."""
        text = "\n".join(texts)
        with tempfile.TemporaryDirectory(prefix="ferry-") as folder:
            path = os.path.join(folder, "generated.txt")
            Path(path).write_text(text, encoding="utf-8")
            self.play(language.read(GENERATED, text), [path])

    def play(self, scripts: list[Scenario], paths: list[str]) -> None:
        """All in one process per side."""
        for script in scripts:
            self.judge.check_rows(script)
        self.judge.version = self.sides.version
        ferry, oracle, problems = self.sides.play(paths)
        self.problems += problems
        for at, script in enumerate(scripts):
            if at >= len(ferry) or (oracle is not None and at >= len(oracle)):
                print(f"{self.name_of(script)}: a driver ended in it")
                self.tell_how_to_replay(script)
                self.judge.failed.append(script)
                break
            self.met.take(script, ferry[at].phases)
            self.tell(script, ferry[at], oracle[at] if oracle is not None else None)

    def tell(self, script: Scenario, ferry: Trace, oracle: Trace | None) -> None:
        words = self.judge.judge(script, ferry, oracle)
        if words:
            print(f"{self.name_of(script)}: ferry and asyncio differ, or ferry broke a rule:")
            print("\n".join(words))
            self.tell_how_to_replay(script)
        if self.chosen.verbose or (words and oracle is not None and len(words) < 2):
            print(f"  {script.name} on ferry:\n{ferry.text()}")

    def name_of(self, script: Scenario) -> str:
        name = f"scenario {script.name}"
        return name if script.file == GENERATED else f"{script.where()}: {name}"

    def tell_how_to_replay(self, script: Scenario) -> None:
        if script.file != GENERATED:
            return
        kind, seed, number = script.name.rpartition("seed_")
        if seed:
            replay = f"--random{'-' * bool(kind)}{kind.removesuffix('_')} {number} 1"
        else:
            replay = f"--pairs '^{script.name}$'"
        backend = f" --backend {self.chosen.backend}" if self.chosen.backend else ""
        print(f"  replay: tests/conformance/run{backend} {replay}")
        print("\n".join("    " + line for line in script.text))

    def summary(self) -> int:
        judge = self.judge
        for problem in self.problems:
            print(problem)
        for words in judge.skipped:
            print(f"not compared: {words}")
        failed = bool(self.problems or judge.failed)
        if self.sides.why_alone:  # ctest takes the first word for the result
            print(f"{'alone' if failed else 'SKIPPED'}: {self.sides.why_alone}; ferry played "
                  "alone: the order of its callbacks and what scenarios declare of it were checked")
        shown = ".".join(map(str, self.sides.version or ()))
        print(f"{judge.same} the same as CPython {shown or '-'}, {judge.declared} different as "
              f"declared, {judge.alone} alone, {len(judge.skipped)} skipped, "
              f"{len(judge.failed)} failed")
        return 1 if failed else 0


def number(text: str) -> int:
    if not re.fullmatch(r"\d{1,18}", text):
        raise Refused(f"'{text}' is no number: a seed and a count are whole and not negative")
    return int(text)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*")
    parser.add_argument("--pairs", nargs="?", const="", metavar="PATTERN")
    parser.add_argument("--random", nargs=2, metavar=("SEED", "COUNT"))
    parser.add_argument("--random-tls", nargs=2, metavar=("SEED", "COUNT"))
    parser.add_argument("--random-udp", nargs=2, metavar=("SEED", "COUNT"))
    parser.add_argument("--random-pipes", nargs=2, metavar=("SEED", "COUNT"))
    parser.add_argument("--print", metavar="NAME", dest="shown")
    parser.add_argument("--matrix", action="store_true")
    parser.add_argument("--driver", type=Path)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--backend")
    parser.add_argument("--patience", default="10")
    parser.add_argument("--verbose", action="store_true")
    chosen = parser.parse_args()
    with suppress(ValueError):
        if float(chosen.patience) > 0:
            return chosen
    raise Refused(f"'{chosen.patience}' is no time: --patience takes seconds, more than 0")


def all_pairs() -> dict[str, str]:
    return {**generate.pair_scenarios(), **generate_datagrams.pair_scenarios(),
            **generate_pipes.pair_scenarios()}


# A kind of seeds -> the scenario of a seed.
SEEDS = {
    "seed_": generate.random_scenario,
    "tls_seed_": lambda seed: generate.random_scenario(seed, tls=True),
    "udp_seed_": generate_datagrams.random_scenario,
    "pipes_seed_": generate_pipes.random_scenario,
}


def pairs(pattern: str) -> list[str]:
    try:
        found = [text for name, text in all_pairs().items()
                 if re.search(pattern, name)]
    except re.error as error:
        raise Refused(f"'{pattern}' is no pattern: {error}") from None
    if not found:
        raise Refused(f"no pair's name matches '{pattern}'")
    return found


def show(name: str) -> int:
    known = [kind for kind in SEEDS if name.startswith(kind)]
    if known:
        print(SEEDS[known[0]](number(name.removeprefix(known[0]))))
    elif name in all_pairs():
        print(all_pairs()[name])
    else:
        raise Refused(f"'{name}' is no generated scenario: seed_N, tls_seed_N, udp_seed_N, "
                      "pipes_seed_N, or the name of a pair")
    return 0


def main() -> int:
    chosen = arguments()
    if chosen.shown is not None:
        return show(chosen.shown)
    seeds = {kind: [number(word) for word in given or ()] for kind, given in zip(
        SEEDS, (chosen.random, chosen.random_tls, chosen.random_udp, chosen.random_pipes))}
    if not (chosen.files or chosen.pairs is not None or any(seeds.values()) or chosen.matrix):
        raise Refused("nothing to play: name a scenario file, or see --help")
    runner = Runner(chosen)
    if chosen.files or chosen.matrix:
        runner.files(chosen.files or sorted(map(str, (HERE / "scenarios").glob("*.txt"))))
    if chosen.pairs is not None or chosen.matrix:
        runner.texts(pairs(chosen.pairs or ""))
    for kind, given in seeds.items():
        first, count = given or ([1, 200] if chosen.matrix else [0, 0])
        for start in range(first, first + count, 500):
            runner.texts([SEEDS[kind](seed)
                          for seed in range(start, min(start + 500, first + count))])
    if chosen.matrix:
        print(runner.met.shown())
    return runner.summary()


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # for who reads the head of it only
    try:
        sys.exit(main())
    except (Mistake, Refused) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
