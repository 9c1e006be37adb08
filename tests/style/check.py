#!/usr/bin/env python3
"""The rules of the house that a machine can check.

    tests/style/check.py [ROOT]        checks the project in ROOT (default: this one)
    tests/style/check.py --self-test   plants a breach of each rule and proves that it is found

Prints one line, "file:line: rule: message", per breach; exits with 1 if there is any.

layer     who may include whom: include/ferry <- src/values <- src/platform/*.hpp <- src/protocols
          <- src/reactor <- src/transports; the folders of src/platform/<os> use the first three
          (all systems also sockets, linux and bsd also posix; sockets stands over posix or
          windows); examples, bench and tests/embed use include/ferry only
foreign   std headers in include/ferry, with fmt in format.hpp; OpenSSL in src/transports/ssl_*,
          in the tests of TLS, the fuzzers and what the benchmarks compare with; headers of a
          system in src/platform only
path      files of src are included by their path from src, public headers as <ferry/...>
system    no #if on a system outside src/platform
function  no function over 70 lines, no test over 120
column    no line over 100 columns
space     no tabs, no white space at the end of a line
words     no marks of unfinished work
"""
from __future__ import annotations

import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Iterator

MAX_COLUMNS = 100
MAX_FUNCTION = 70
MAX_TEST = 120

CODE_DIRS = ("src", "include", "tests", "bench", "examples")
OTHER_DIRS = ("scripts", "cmake", "docs")
CPP_SUFFIXES = (".cpp", ".hpp", ".cc", ".cxx", ".c", ".h", ".ipp")
TEXT_SUFFIXES = CPP_SUFFIXES + (".py", ".sh", ".cmake", ".md", ".in", "CMakeLists.txt")
SKIPPED_FOLDER = re.compile(r"\..*|build(?:-.*)?|__pycache__")

STACK = ("include", "values", "platform", "protocols", "reactor", "transports")
SRC_ROOMS = STACK[1:]
OS_ROOMS = {  # folder of src/platform -> the other such folders that it may use
    "sockets": ("posix", "windows"), "posix": ("sockets",), "linux": ("posix", "sockets"),
    "bsd": ("posix", "sockets"), "windows": ("sockets",), "sim": ("sockets",),
}
PUBLIC_ONLY = ("examples", "bench", "tests/embed")

OPENSSL_USERS = ("tests/support/tls", "tests/transports/tls", "tests/fuzz", "bench/peers",
                 "bench/gen")

STD_HEADER = re.compile(r"[a-z][a-z0-9_]*")
SYSTEM_MACRO = re.compile(
    r"\b(?:_?WIN(?:32|64)|__WIN(?:32|64)__|__MINGW(?:32|64)__|__CYGWIN__|__(?:gnu_)?linux(?:__)?"
    r"|linux|__APPLE__|__MACH__|TARGET_OS_\w+|__(?:Free|Net|Open)BSD__|__DragonFly__|BSD"
    r"|__(?:unix|sun|ANDROID|EMSCRIPTEN|HAIKU)(?:__)?|unix|_POSIX_\w+)\b")
CONDITION = re.compile(r"[ \t]*#[ \t]*(if|ifdef|ifndef|elif|elifdef|elifndef)\b(.*)")
INCLUDE = re.compile(r'[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]')
UNFINISHED = re.compile(r"\b(?:" + "|".join(("TO" + "DO", "FIX" + "ME", "X" * 3)) + r")\b")

TOKEN = re.compile(
    r'''//[^\n]*|/\*.*?\*/'''
    r'''|(?<!\w)(?:u8|[uUL])?R"(?P<mark>[^(\s]*)\(.*?\)(?P=mark)"'''
    r'''|"(?:\\.|[^"\\\n])*"'''
    r'''|(?<!\w)(?:u8|[uUL])?'(?:\\.|[^'\\\n])+\'''',
    re.S)


@dataclass(frozen=True, order=True)
class Breach:
    path: str
    line: int
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.message}"


@dataclass(frozen=True)
class File:
    path: PurePosixPath  # from the root
    text: str

    def is_cpp(self) -> bool:
        return self.path.name.endswith(CPP_SUFFIXES)

    def is_under(self, *folders: str) -> bool:
        return any(self.path.is_relative_to(folder) for folder in folders)

    def breach(self, line: int, rule: str, message: str) -> Breach:
        return Breach(str(self.path), line, rule, message)


class Tree:
    """The files of a project, read once."""

    def __init__(self, root: Path):
        self.files = sorted(self.read(root), key=lambda file: file.path)
        self.paths = {file.path for file in self.files}

    @staticmethod
    def read(root: Path) -> Iterator[File]:
        found = [path for path in root.iterdir() if path.is_file()]
        for folder in CODE_DIRS + OTHER_DIRS:
            found += (path for path in (root / folder).rglob("*") if path.is_file())
        for path in found:
            relative = PurePosixPath(path.relative_to(root).as_posix())
            if any(map(SKIPPED_FOLDER.fullmatch, relative.parts[:-1])) or not is_text(path):
                continue
            # Bytes, so that a carriage return is not swallowed.
            yield File(relative, path.read_bytes().decode("utf-8", errors="replace"))

    def has(self, path: PurePosixPath) -> bool:
        return path in self.paths


def is_text(path: Path) -> bool:
    if path.suffix:
        return path.name.endswith(TEXT_SUFFIXES)
    with path.open("rb") as file:
        return file.read(2) == b"#!"


def blank(text: str, keep_strings: bool = False) -> str:
    """The text without comments and the insides of literals, in the same lines and columns."""
    def spaces(match: re.Match) -> str:
        token = match.group()
        if token.startswith(("//", "/*")):
            return re.sub(r"[^\n]", " ", token)
        if keep_strings:
            return token
        inner = re.sub(r"[^\n]", " ", token)
        return token[-1] + inner[1:-1] + token[-1]
    return TOKEN.sub(spaces, text)


def join_continued(code: str) -> list[str]:
    """Lines, each with those that a backslash continues; the rest of them left empty."""
    lines = code.split("\n")
    for at in range(len(lines) - 1, 0, -1):
        if lines[at - 1].endswith("\\"):
            lines[at - 1] = lines[at - 1][:-1] + " " + lines[at]
            lines[at] = ""
    return lines


# --- who includes whom ----------------------------------------------------------------------

@dataclass(frozen=True)
class Include:
    line: int
    quoted: bool
    path: str

    def shown(self) -> str:
        return f'"{self.path}"' if self.quoted else f"<{self.path}>"


def includes(file: File) -> list[Include]:
    found = []
    for number, line in enumerate(blank(file.text, keep_strings=True).split("\n"), 1):
        match = INCLUDE.match(line)
        if match:
            found.append(Include(number, match.group(1) == '"', match.group(2)))
    return found


def room(path: PurePosixPath) -> str:
    """The room of a file: one of the stack, "platform/<os>", or "" outside include and src."""
    parts = path.parts
    if parts[0] == "include":
        return "include"
    if parts[0] != "src" or len(parts) < 3 or parts[1] not in SRC_ROOMS:
        return ""
    if parts[1] == "platform" and len(parts) > 3:
        return f"platform/{parts[2]}"
    return parts[1]


def may_use(user: str, used: str) -> bool:
    if user == used or user == "":
        return True
    if user.startswith("platform/"):
        allowed = [f"platform/{name}" for name in OS_ROOMS.get(user.removeprefix("platform/"), ())]
        return used in [*allowed, "include", "values", "platform"]
    if used.startswith("platform/"):
        return False
    return STACK.index(used) < STACK.index(user)


def target(file: File, include: Include, tree: Tree) -> PurePosixPath | None:
    """The file of the project that an include means, if any."""
    if include.path.startswith("ferry/"):
        return PurePosixPath("include") / include.path
    own = normal(file.path.parent / include.path)
    from_src = PurePosixPath("src") / include.path
    beside = include.quoted and tree.has(own)
    if not beside and PurePosixPath(include.path).parts[:1] in [(room,) for room in SRC_ROOMS]:
        return from_src
    bases = [PurePosixPath("src"), PurePosixPath(file.path.parts[0])]
    candidates = [own, *(normal(base / include.path) for base in bases)]
    return next((path for path in candidates if tree.has(path)), None)


def normal(path: PurePosixPath) -> PurePosixPath:
    parts: list[str] = []
    for part in path.parts:
        if part == ".." and parts:
            parts.pop()
        else:
            parts.append(part)
    return PurePosixPath(*parts)


def check_layers(file: File, tree: Tree) -> Iterator[Breach]:
    user = room(file.path)
    if file.is_under("src") and user == "":
        yield file.breach(1, "layer", "this file is in none of the rooms of src")
    if user.startswith("platform/") and user.removeprefix("platform/") not in OS_ROOMS:
        yield file.breach(1, "layer", f"src/{user} is none of the known systems")
    for include in includes(file):
        goal = target(file, include, tree)
        used = room(goal) if goal else ""
        if used and not may_use(user, used):
            yield file.breach(include.line, "layer",
                              f"{user} may not include {include.shown()}, which is in {used}")
        home = next(filter(file.is_under, PUBLIC_ONLY), None)
        if home and goal and not (goal.is_relative_to("include") or goal.is_relative_to(home)):
            yield file.breach(include.line, "layer",
                              f"only <ferry/...> may be included here, not {include.shown()}")


def check_foreign(file: File, tree: Tree) -> Iterator[Breach]:
    for include in includes(file):
        path = include.path
        if path.startswith("openssl/"):
            if not (str(file.path).startswith("src/transports/ssl_")
                    or file.is_under(*OPENSSL_USERS)):
                yield file.breach(include.line, "foreign",
                                  f"OpenSSL's {include.shown()} outside src/transports/ssl_* and "
                                  "the tests of TLS")
            continue
        if not file.is_under("src", "include"):
            continue
        if path.startswith("ferry/") or STD_HEADER.fullmatch(path) or target(file, include, tree):
            continue
        if path.startswith("fmt/"):
            if file.is_under("include") and file.path.name != "format.hpp":
                yield file.breach(include.line, "foreign",
                                  f"fmt's {include.shown()} in a public header but format.hpp")
        elif not file.is_under("src/platform"):
            yield file.breach(include.line, "foreign",
                              f"{include.shown()} of a system or library outside src/platform")


def check_paths(file: File, tree: Tree) -> Iterator[Breach]:
    for include in includes(file):
        goal = target(file, include, tree)
        if include.path.startswith("ferry/"):
            if include.quoted and file.is_under("src", "include", "tests"):
                yield file.breach(include.line, "path", f"say <{include.path}>")
        elif file.is_under("src"):
            if goal and not (include.quoted and str(goal) == f"src/{include.path}"):
                yield file.breach(include.line, "path", f'say "{goal.relative_to(goal.parts[0])}"')
            elif include.quoted and (goal is None or not tree.has(goal)):
                yield file.breach(include.line, "path", f"src has no {include.shown()}")
        elif file.is_under("include"):
            if include.quoted:
                yield file.breach(include.line, "path", "public headers include <...> only")
        elif file.is_under("tests") and goal and room(goal):
            if not (include.quoted and str(goal) == f"src/{include.path}"):
                yield file.breach(include.line, "path", f'say "{goal.relative_to(goal.parts[0])}"')


def check_systems(file: File, _tree: Tree) -> Iterator[Breach]:
    if not file.is_under("src", "include") or file.is_under("src/platform"):
        return
    for number, line in enumerate(join_continued(blank(file.text)), 1):
        match = CONDITION.match(line)
        if not match:
            continue
        system = SYSTEM_MACRO.search(match.group(2))
        if system:
            yield file.breach(number, "system",
                              f"#{match.group(1)} on {system.group()} outside src/platform")
        asked = re.search(r"__has_include\s*\(\s*<([^>]*)>", match.group(2))
        if asked and not STD_HEADER.fullmatch(asked.group(1)):
            yield file.breach(number, "system",
                              f"#{match.group(1)} on <{asked.group(1)}> outside src/platform")


# --- the length of functions ----------------------------------------------------------------

QUALIFIERS = (r"(?:\s*(?:const|volatile|noexcept(?:\s*\(\s*\))?|override|final|mutable|constexpr"
              r"|try|&&?|_?[A-Z][A-Z0-9_]+(?:\s*\(\s*\))?|\[\]))*")
REQUIRES = r"(?:\s*\brequires\b.*)?"
FUNCTION = re.compile(r"\)" + QUALIFIERS + r"(?:\s*->[^=]*)?" + REQUIRES + r"\s*$", re.S)
INITIALIZERS = re.compile(r"\)" + QUALIFIERS + REQUIRES + r"\s*:(?!:)", re.S)
LAMBDA = re.compile(r"=\s*\[[^\]]*\]\s*(?:mutable\s*)?$")
SCOPE = re.compile(r"^(?:\w+\s+)*?(?:namespace|class|struct|union|enum)\b"
                   r"|\b(?:namespace|class|struct|union|enum)\b[^()=]*$|extern\s*\"\s*\"\s*$")
ALIGNED = re.compile(r"\b(?:alignas|__attribute__|__declspec)\s*\(\)")
REQUIREMENT = re.compile(r"\brequires\s*(?:\(\s*\))?\s*$")
ACCESS = re.compile(r"\s*(?:public|private|protected)\s*:(?!:)")
TEST_NAME = re.compile(r"[A-Z_]*(?:TEST|SCENARIO)[A-Z_]*")


@dataclass(frozen=True)
class Function:
    name: str
    line: int
    lines: int

    def is_test(self) -> bool:
        return TEST_NAME.fullmatch(self.name) is not None


class Unbalanced(Exception):
    pass


class FunctionFinder:
    """Walks over the braces of a file. `head` is what stands before the next brace, with all
    nested parentheses emptied; it tells a function's body from a scope and an initializer."""

    def __init__(self, text: str):
        self.code = self.prepare(text)
        self.functions: list[Function] = []
        self.at = 0

    @staticmethod
    def prepare(text: str) -> str:
        """Only code: no preprocessor lines, and of alternatives (#else) the first one."""
        depth, skipped_from = 0, 0
        lines = []
        continued = False
        for line in blank(text).split("\n"):
            directive = re.match(r"\s*#\s*(\w+)", line) if not continued else None
            word = directive.group(1) if directive else ""
            if word.startswith("if"):
                depth += 1
            elif word.startswith("el") and not skipped_from:
                skipped_from = depth
            elif word == "endif":
                skipped_from = 0 if skipped_from == depth else skipped_from
                depth -= 1
            hidden = bool(word) or continued or skipped_from > 0
            continued = (bool(word) or continued) and line.endswith("\\")
            lines.append("" if hidden else line)
        return "\n".join(lines)

    def find(self) -> list[Function]:
        self.scope(outermost=True)
        return self.functions

    def scope(self, outermost: bool = False) -> None:
        """The inside of a namespace, a class or the file."""
        head, start = "", self.at
        while self.at < len(self.code):
            mark = self.code[self.at]
            if mark in "([":
                head += self.skipped_group()
                continue
            self.at += 1
            if mark == "}":
                if outermost:
                    raise Unbalanced
                return
            if mark == ";":
                head, start = "", self.at
            elif mark == "{":
                head, start = self.brace(head, start)
            else:
                head += mark
                if mark == ":" and self.is_access(head):
                    head, start = "", self.at
        if not outermost:
            raise Unbalanced

    def is_access(self, head: str) -> bool:
        return ACCESS.fullmatch(head) is not None and self.code[self.at:self.at + 1] != ":"

    def brace(self, head: str, start: int) -> tuple[str, int]:
        """Just after a brace; returns the head and its start for what follows."""
        bare = without_template(head)
        if self.is_scope(bare):
            self.scope()
            return "", self.at
        if self.is_body(bare):
            self.skip_block()
            self.add(bare, start)
            return "", self.at
        self.skip_block()
        return head + "()", start

    @staticmethod
    def is_scope(bare: str) -> bool:
        bare = ALIGNED.sub("", bare)
        return SCOPE.search(bare) is not None and not FUNCTION.search(bare)

    @staticmethod
    def is_body(bare: str) -> bool:
        if REQUIREMENT.search(bare) or re.match(r"concept\b", bare):
            return False
        if LAMBDA.search(bare) or FUNCTION.search(bare):
            return True
        return INITIALIZERS.search(bare) is not None and bare.rstrip().endswith("...")

    def add(self, bare: str, start: int) -> None:
        while self.code[start].isspace():
            start += 1
        name = re.search(r"([\w~:]+|operator[^\w\s(]*)\s*\(", bare)
        first = self.code.count("\n", 0, start) + 1
        last = self.code.count("\n", 0, self.at) + 1
        self.functions.append(Function(name.group(1) if name else "a lambda", first,
                                       last - first + 1))

    def skip_block(self) -> None:
        depth = 1
        while depth:
            if self.at >= len(self.code):
                raise Unbalanced
            depth += {"{": 1, "}": -1}.get(self.code[self.at], 0)
            self.at += 1

    def skipped_group(self) -> str:
        """Skips a group in parentheses or brackets and returns it emptied."""
        opening = self.code[self.at]
        closing = {"(": ")", "[": "]"}[opening]
        depth = 0
        while self.at < len(self.code):
            mark = self.code[self.at]
            self.at += 1
            depth += {opening: 1, closing: -1}.get(mark, 0)
            if depth == 0:
                return opening + closing
        raise Unbalanced


def without_template(head: str) -> str:
    """The head without leading "template <...>" and attributes."""
    head = head.lstrip()
    while True:
        if head.startswith("[]"):
            head = head[2:].lstrip()
        elif re.match(r"template\s*<", head):
            head = head[end_of_angles(head):].lstrip()
        else:
            return head


def end_of_angles(head: str) -> int:
    depth = 0
    for at, mark in enumerate(head):
        if mark == ">" and head[at - 1] == "-":
            continue
        depth += {"<": 1, ">": -1}.get(mark, 0)
        if mark == ">" and depth == 0:
            return at + 1
    return len(head)


def check_functions(file: File, _tree: Tree) -> Iterator[Breach]:
    if not file.is_cpp() or not file.is_under(*CODE_DIRS):
        return
    try:
        functions = FunctionFinder(file.text).find()
    except Unbalanced:
        yield file.breach(1, "function", "the braces of this file cannot be followed")
        return
    for function in functions:
        limit = MAX_TEST if function.is_test() else MAX_FUNCTION
        if function.lines > limit:
            yield file.breach(function.line, "function",
                              f"{function.name} has {function.lines} lines, over {limit}")


# --- plain text -----------------------------------------------------------------------------

def check_columns(file: File, _tree: Tree) -> Iterator[Breach]:
    if not file.is_under(*CODE_DIRS) or file.path.suffix == ".md":
        return
    for number, line in enumerate(file.text.split("\n"), 1):
        if len(line.rstrip("\r")) > MAX_COLUMNS:
            yield file.breach(number, "column", f"{len(line)} columns, over {MAX_COLUMNS}")


def check_space(file: File, _tree: Tree) -> Iterator[Breach]:
    for number, line in enumerate(file.text.split("\n"), 1):
        if "\t" in line:
            yield file.breach(number, "space", "a tab")
        elif line != line.rstrip():
            yield file.breach(number, "space", "white space at the end of the line")


def check_words(file: File, _tree: Tree) -> Iterator[Breach]:
    for number, line in enumerate(file.text.split("\n"), 1):
        word = UNFINISHED.search(line)
        if word:
            yield file.breach(number, "words", f"{word.group()}: finish it or make an issue of it")


CPP_RULES = (check_layers, check_foreign, check_paths, check_systems, check_functions)
TEXT_RULES = (check_columns, check_space, check_words)


def check(root: Path) -> list[Breach]:
    tree = Tree(root)
    breaches: list[Breach] = []
    for file in tree.files:
        rules = CPP_RULES + TEXT_RULES if file.is_cpp() else TEXT_RULES
        for rule in rules:
            breaches += rule(file, tree)
    return sorted(set(breaches))


# --- the self-test --------------------------------------------------------------------------

def long_function(signature: str, lines: int) -> str:
    return signature + " {\n" + "  run();\n" * (lines - 2) + "}\n"


GOOD_TREE = {
    "include/ferry/error.hpp": "#pragma once\n#include <system_error>\n",
    "include/ferry/format.hpp": "#include <ferry/error.hpp>\n#include <fmt/format.h>\n",
    "src/values/error.cpp": "#include <ferry/error.hpp>\n#include <fmt/format.h>\n",
    "src/values/words.hpp": "#pragma once\n",
    "src/platform/poller.hpp": '#include "values/words.hpp"\n#include <ferry/error.hpp>\n',
    "src/platform/posix/calls.hpp": "#include <sys/socket.h>\n#ifdef __linux__\n#endif\n",
    "src/platform/linux/epoll.cpp":
        '#include "platform/poller.hpp"\n#include "platform/posix/calls.hpp"\n'
        "#include <unistd.h>\n",
    "src/platform/windows/afd.cpp": '#include <winsock2.h>\n#include "values/words.hpp"\n',
    "src/protocols/caller.hpp": '#include "platform/poller.hpp"\n',
    "src/reactor/loop.cpp": '#include "protocols/caller.hpp"\n#if defined(FERRY_TLS)\n#endif\n',
    "src/transports/ssl_object.cpp": '#include <openssl/ssl.h>\n#include "reactor/queue.hpp"\n',
    "src/reactor/queue.hpp": "// #ifdef _WIN32 in a comment; linux too\nint n = 1'000'000;\n",
    "tests/reactor/loop_test.cpp":
        '#include "reactor/queue.hpp"\n#include "support/world.hpp"\n#include <unistd.h>\n'
        + long_function('TEST_CASE("long", "[x]")', MAX_TEST),
    "tests/support/world.hpp": '#include "support/other.hpp"\n',
    "tests/support/other.hpp": "#pragma once\n",
    "tests/embed/main.cpp": "#include <ferry/error.hpp>\n",
    "bench/server.cpp": '#include "load.hpp"\n#include <sys/epoll.h>\n#include <ferry/error.hpp>\n',
    "bench/load.hpp": "#ifdef __linux__\n#endif\n" + long_function("void load()", MAX_FUNCTION),
    "examples/echo.cpp": "#include <ferry/error.hpp>\n#include <tuple>\n",
    "docs/page.md": "words " * 30 + "end\n",
    "scripts/run": "#!/bin/sh\nmktemp a.XXXXXX\n",
    "CMakeLists.txt": "# all of it\n",
}

WIDE = "//" + "x" * (MAX_COLUMNS - 1) + "\n"
CLASS = "class Foo final : public Base {{\n public:\n  {}}};\n"
BODY_70 = "{\n" + "  run();\n" * (MAX_FUNCTION - 1) + "}\n"  # 71 lines

# rule, file, its text: each one, planted into the good tree, must be found by that rule.
BAD_FILES = [
    ("layer", "src/values/bad.cpp", '#include "platform/poller.hpp"\n'),
    ("layer", "src/platform/bad.hpp", '#include "protocols/caller.hpp"\n'),
    ("layer", "src/platform/bad.hpp", '#include "platform/posix/calls.hpp"\n'),
    ("layer", "src/protocols/bad.cpp", '#include "reactor/queue.hpp"\n'),
    ("layer", "src/reactor/bad.cpp", '#include "transports/write_queue.hpp"\n'),
    ("layer", "src/reactor/bad.cpp", '#include "platform/linux/epoll.hpp"\n'),
    ("layer", "src/platform/windows/bad.cpp", '#include "platform/posix/calls.hpp"\n'),
    ("layer", "src/platform/posix/bad.cpp", '#include "platform/linux/epoll.hpp"\n'),
    ("layer", "src/platform/sim/bad.cpp", '#include "reactor/queue.hpp"\n'),
    ("layer", "src/platform/amiga/bad.cpp", "int n;\n"),
    ("layer", "src/attic/bad.cpp", "int n;\n"),
    ("layer", "include/ferry/bad.hpp", '#include "reactor/queue.hpp"\n'),
    ("layer", "examples/bad.cpp", '#include "reactor/queue.hpp"\n'),
    ("layer", "examples/bad.cpp", '#include "../tests/support/world.hpp"\n'),
    ("layer", "bench/bad.cpp", '#include "../src/reactor/queue.hpp"\n'),
    ("layer", "bench/bad.cpp", "#include <reactor/queue.hpp>\n"),
    ("layer", "tests/embed/bad.cpp", '#include "../support/world.hpp"\n'),
    ("layer", "tests/embed/bad.cpp", '#include "platform/poller.hpp"\n'),
    ("foreign", "src/reactor/bad.cpp", "#include <openssl/ssl.h>\n"),
    ("foreign", "include/ferry/bad.hpp", "#include <openssl/ssl.h>\n"),
    ("foreign", "src/transports/bad.cpp", "#include <openssl/ssl.h>\n"),
    ("foreign", "src/platform/windows/bad.cpp", "#include <openssl/ssl.h>\n"),
    ("foreign", "examples/bad.cpp", "#include <openssl/ssl.h>\n"),
    ("foreign", "tests/transports/bad.cpp", "#include <openssl/ssl.h>\n"),
    ("foreign", "bench/bad.cpp", "#include <openssl/ssl.h>\n"),
    ("foreign", "include/ferry/bad.hpp", "#include <fmt/core.h>\n"),
    ("foreign", "include/ferry/bad.hpp", "#include <sys/types.h>\n"),
    ("foreign", "src/reactor/bad.cpp", "#  include <unistd.h>\n"),
    ("foreign", "src/transports/bad.cpp", "#include <netinet/in.h>\n"),
    ("foreign", "src/values/bad.cpp", "#include <windows.h>\n"),
    ("foreign", "src/protocols/bad.cpp", "#include <asio.hpp>\n"),
    ("path", "src/reactor/bad.cpp", '#include "queue.hpp"\n'),
    ("path", "src/reactor/bad.cpp", '#include "../protocols/caller.hpp"\n'),
    ("path", "src/reactor/bad.cpp", "#include <reactor/queue.hpp>\n"),
    ("path", "src/reactor/bad.cpp", '#include "ferry/error.hpp"\n'),
    ("path", "src/reactor/bad.cpp", '#include "reactor/nowhere.hpp"\n'),
    ("path", "include/ferry/bad.hpp", '#include "error.hpp"\n'),
    ("path", "tests/reactor/bad.cpp", '#include "../../src/reactor/queue.hpp"\n'),
    ("system", "src/reactor/bad.cpp", "#ifdef _WIN32\n#endif\n"),
    ("system", "src/reactor/bad.cpp", "#if 1 && \\\n  defined(__linux__)\n#endif\n"),
    ("system", "src/reactor/bad.cpp", "#if FOO\n#elif defined __APPLE__\n#endif\n"),
    ("system", "include/ferry/bad.hpp", "# ifndef __FreeBSD__\n#endif\n"),
    ("system", "include/ferry/bad.hpp", "#if __has_include(<sys/epoll.h>)\n#endif\n"),
    ("function", "src/reactor/bad.cpp", "void f() " + BODY_70),
    ("function", "src/reactor/bad.cpp", "namespace a::b {\nint f(int x) const noexcept " + BODY_70
     + "}\n"),
    ("function", "src/reactor/bad.cpp", "auto f(A<b()> x) -> std::vector<int>\n" + BODY_70),
    ("function", "src/reactor/bad.cpp", "Foo::Foo(int a)\n    : a_{a}, b_(1), c_{{}} "
     + BODY_70.replace("  run();\n", "", 1)),
    ("function", "src/reactor/bad.cpp", "Foo::Foo(Ts... ts) : Ts(ts)... " + BODY_70),
    ("function", "src/reactor/bad.cpp", "const auto f = [] " + BODY_70),
    ("function", "src/reactor/bad.cpp", "template <class T, class = X<(1 > 0)>>\n"
     "requires(sizeof(T) > 1)\nbool operator==(T, T) " + BODY_70),
    ("function", "src/reactor/bad.cpp", "const auto f = [](int x) " + BODY_70),
    ("function", "src/reactor/bad.cpp", CLASS.format("[[nodiscard]] bool f() && override "
                                                     + BODY_70)),
    ("function", "src/reactor/bad.cpp", "void f() {\n  auto g = [&] " + BODY_70 + "}\n"),
    ("function", "src/reactor/bad.cpp", "int a[] = {1, 2};\nFoo b{1};\nstruct C {\n  int d{2};\n"
     "  ~C() " + BODY_70 + "};\n"),
    ("function", "src/reactor/bad.cpp", "#if A\nvoid f() {\n#else\nvoid f(int) {\n#endif\n"
     + "  run();\n" * MAX_FUNCTION + "}\n"),
    ("function", "src/reactor/bad.cpp", "void f() {\n"),
    ("function", "bench/bad.cpp", "int main() " + BODY_70),
    ("function", "bench/bad.cpp", "struct stat look(const char* path) " + BODY_70),
    ("function", "tests/reactor/bad.cpp", "void helper() " + BODY_70),
    ("function", "tests/reactor/bad.cpp", long_function('TEST_CASE("a(", "[b]")', MAX_TEST + 1)),
    ("column", "src/reactor/bad.cpp", WIDE),
    ("column", "include/ferry/bad.hpp", WIDE),
    ("column", "tests/bad.py", WIDE),
    ("column", "bench/CMakeLists.txt", WIDE),
    ("column", "examples/bad.cpp", WIDE),
    ("space", "src/reactor/bad.cpp", "int n; \n"),
    ("space", "src/reactor/bad.cpp", "\tint n;\n"),
    ("space", "src/reactor/bad.cpp", "int n;\r\n"),
    ("space", "docs/bad.md", "words \n"),
    ("words", "src/reactor/bad.cpp", "// TO" + "DO: more\n"),
    ("words", "scripts/bad.sh", "# FIX" + "ME\n"),
    ("words", "README.md", "XX" + "X\n"),
]

# Texts that look like a breach and are none.
HARMLESS = [
    ("src/reactor/fine.cpp", "// " + "namespace { }\nnamespace a {\nclass B {\n"
     + "  B() : n{1} {}\n  int x() { return 1; }\n" * 50 + "};\n}  // namespace a\n"),
    ("src/reactor/fine.cpp", "const int table[] = {\n" + "  1,\n" * 100 + "};\n"),
    ("src/reactor/fine.cpp", "std::array<int, f(3)> table{\n" + "  1,\n" * 100 + "};\n"),
    ("src/reactor/fine.cpp", "enum class E : int {\n" + "  a,\n" * 100 + "};\n"),
    ("src/reactor/fine.cpp", 'const char* s = "{ ((";\nauto r = R"x({{\n' + "text\n" * 100
     + ')x";\nchar c = \'{\';\n'),
    ("src/reactor/fine.cpp", "template <class T>\nconcept C = requires(T t) {\n"
     + "  t.x();\n" * 100 + "};\n"),
    ("src/reactor/fine.cpp", "template <class T>\n  requires requires(T t) {\n"
     + "    t.x();\n" * 100 + "  }\nvoid f();\n"),
    ("src/reactor/fine.cpp", "struct alignas(64) RAW {\n"
     + "  int x() { return 1; }\n" * 100 + "};\n"),
    ("src/reactor/fine.cpp", "#if A\nvoid f() {\n#else\nvoid f(int) {\n#endif\n}\n"),
    ("src/reactor/fine.cpp", "#define F(x) \\\n  { \\\n    {\nint linux_count;\n"),
    ("src/reactor/fine.cpp", "template <class R>\nclass F<R()> : B<R()> {\n"
     + "  int x() { return 1; }\n" * 100 + "};\n"),
    ("src/reactor/fine.cpp", "struct A {\n  int n;\n} a;\nstruct B : A {\n  B() : A{} {}\n};\n"),
    ("src/transports/ssl_fine.hpp", "#include <openssl/err.h>\n"),
    ("tests/support/tls/fine.cpp", "#include <openssl/x509.h>\n"),
    ("bench/peers/fine.cpp", "#include <openssl/ssl.h>\n"),
    ("tests/reactor/fine.cpp", "#include <sys/epoll.h>\n#ifdef __linux__\n#endif\n"),
    ("tests/reactor/fine.cpp", '#include "fine.hpp"\n#include <catch2/catch.hpp>\n'),
]


def found_in(files: dict[str, str]) -> list[Breach]:
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
        return check(Path(folder))


def self_test() -> int:
    failures = [f"the good tree: {breach}" for breach in found_in(GOOD_TREE)]
    for rule, name, text in BAD_FILES:
        found = found_in({**GOOD_TREE, name: text})
        if (rule, name) not in [(breach.rule, breach.path) for breach in found]:
            failures.append(f"{rule} does not find {text[:60]!r} in {name}")
    for name, text in HARMLESS:
        failures += [f"harmless: {text[:60]!r}: {breach}"
                     for breach in found_in({**GOOD_TREE, name: text})]
    print("\n".join([*failures, f"self-test: {len(BAD_FILES)} breaches planted, "
                     f"{len(HARMLESS) + 1} good trees, {len(failures)} failures"]))
    return 1 if failures else 0


def main(arguments: list[str]) -> int:
    if arguments == ["--self-test"]:
        return self_test()
    if len(arguments) > 1 or arguments[:1] in (["-h"], ["--help"]):
        print(__doc__)
        return 0 if len(arguments) == 1 else 2
    root = Path(arguments[0]) if arguments else Path(__file__).resolve().parent.parent.parent
    if not (root / "src").is_dir():
        print(f"check.py: {root} has no folder src", file=sys.stderr)
        return 2
    breaches = check(root)
    print("\n".join([*map(str, breaches), f"style: {len(breaches)} breaches"]))
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
