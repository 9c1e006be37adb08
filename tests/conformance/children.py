#!/usr/bin/env python3
"""Children on ferry and on CPython's asyncio: each method called inside each callback, and what the
protocols saw compared.

    children.py --driver PATH --child PATH [--backend NAME] [PATTERN]

PATH: children_driver, and the program that tests start as a child. Pairs whose "CALLBACK METHOD"
matches PATTERN are played, or all. What the contract leaves free (the order of the exit and the
ends of pipes, C-19) is not compared; what ferry does otherwise on purpose stands in expected().

Exit code: 0 the same, 1 something differs, 2 a mistake in the command.
"""
from __future__ import annotations

import argparse
import asyncio
import logging
import os
import re
import signal
import subprocess
import sys

CALLBACKS = ("connection_made", "pipe_data_received", "pipe_connection_lost", "process_exited",
             "pause_writing", "resume_writing", "connection_lost", "call", "after")
METHODS = ("kill", "terminate", "send_signal", "get_returncode", "get_pid", "get_pipe_transport",
           "get_protocol", "is_closing", "can_write_eof", "stdin_is_closing", "stdout_is_closing",
           "stdin_size", "close", "write", "write_eof", "close_stdin", "abort_stdin",
           "close_stdout", "pause_stdout", "set_protocol", "stop", "raise", "writelines",
           "get_limits", "set_limits", "process_info", "pipe_info", "resume_stdout",
           "close_stderr", "stderr_is_closing")
MUCH = 1 << 20
PATIENCE = 10
OLDEST = (3, 11)


class UserError(Exception):
    pass


def word(exc):
    if exc is None:
        return "none"
    return {BrokenPipeError: "broken_pipe", ConnectionResetError: "reset"}.get(type(exc), "error")


def yes(value):
    return "yes" if value else "no"


class Recorder(asyncio.SubprocessProtocol):
    def __init__(self, play, number):
        self.play, self.number = play, number

    def called(self, callback):
        self.play.facts[callback] = self.play.facts.get(callback, 0) + 1
        if self.play.facts[callback] > 1 or callback != self.play.callback:
            return
        try:
            self.play.perform()
        finally:
            self.play.wake()  # it may have closed what is waited for

    def note(self, name, text):
        self.play.words[name] = self.play.words.get(name, "") + text

    def connection_made(self, transport):
        play = self.play
        play.transport = transport
        play.input, play.output, play.errors = map(transport.get_pipe_transport, range(3))
        play.input.write(play.sent())
        self.called("connection_made")

    def pipe_data_received(self, fd, data):
        self.play.data[fd] = self.play.data.get(fd, b"") + data
        # In one piece or in several: the last one counts.
        if self.play.has_all() and "pipe_data_received" not in self.play.facts:
            try:
                self.called("pipe_data_received")
            finally:
                self.play.wake()

    def pipe_connection_lost(self, fd, exc):
        self.note(f"pipe {fd}", word(exc))
        self.called("pipe_connection_lost")

    def process_exited(self):
        self.note("exited", str(self.play.transport.get_returncode()))
        self.called("process_exited")

    def pause_writing(self):
        self.called("pause_writing")

    def resume_writing(self):
        self.called("resume_writing")

    def connection_lost(self, exc):
        self.note("lost", f"{word(exc)} of {self.number}")
        self.play.lost = True
        try:
            self.called("connection_lost")
        finally:
            self.play.wake()


class Play:
    """One child, and what is done inside one of its callbacks."""

    def __init__(self, child, callback, method):
        self.child, self.callback, self.method = child, callback, method
        self.is_large = callback in ("pause_writing", "resume_writing")
        self.lost = False
        self.transport = self.input = self.output = self.errors = self.waiter = None
        self.data, self.facts, self.words = {}, {}, {}
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(self.handler)

    def handler(self, _loop, _context):
        self.facts["handler"] = self.facts.get("handler", 0) + 1

    def sent(self):
        return b"x" * MUCH if self.is_large else b"hello"

    def has_all(self):
        return len(self.data.get(1, b"")) >= len(self.sent())

    def wake(self):
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    def run(self):
        asyncio.set_event_loop(self.loop)
        done = self.loop.create_task(asyncio.wait_for(self.play(), PATIENCE))
        done.add_done_callback(lambda _: self.loop.stop())
        self.loop.run_forever()
        while not done.done():
            self.facts["stopped"] = self.facts.get("stopped", 0) + 1
            self.loop.run_forever()
        if done.exception() is not None:
            self.words["in vain"] = "yes"
            self.transport.kill()
        self.loop.close()
        return self.story()

    async def play(self):
        await self.loop.subprocess_exec(lambda: Recorder(self, 1), self.child, "cat")
        while not self.has_all() and not self.lost and not self.output.is_closing():
            self.waiter = self.loop.create_future()
            await self.waiter
        if self.callback == "call":
            self.perform()
        self.input.close()
        while not self.lost:
            self.waiter = self.loop.create_future()
            await self.waiter
        await asyncio.sleep(0)
        if self.callback == "after":
            self.perform()
        await asyncio.sleep(0)

    def perform(self):
        if self.method == "raise":
            raise UserError
        try:
            answer = self.act()
        except ProcessLookupError:
            answer = "gone"
        except NotImplementedError:
            answer = "unsupported"
        except RuntimeError:
            answer = "misuse"
        except (ValueError, TypeError):
            answer = "invalid"
        except Exception as exc:  # e.g. of a transport that is lost
            answer = repr(exc)
        if answer:
            self.words["answer"] = answer

    def act(self):
        method, transport = self.method, self.transport
        if method in ("kill", "terminate", "close"):
            return getattr(transport, method)()
        if method == "send_signal":
            return transport.send_signal(signal.SIGTERM)
        if method == "get_returncode":
            code = transport.get_returncode()
            return "none" if code is None else str(code)
        if method == "get_pid":
            return yes(transport.get_pid() > 0)
        if method == "get_pipe_transport":
            return "".join(yes(transport.get_pipe_transport(fd) is not None) for fd in range(4))
        if method == "get_protocol":
            return yes(transport.get_protocol() is not None)
        if method == "is_closing":
            return yes(transport.is_closing())
        if method == "can_write_eof":
            return yes(self.input.can_write_eof())
        if method == "stdin_is_closing":
            return yes(self.input.is_closing())
        if method == "stdout_is_closing":
            return yes(self.output.is_closing())
        if method == "stdin_size":
            return yes(self.input.get_write_buffer_size() > 0)
        if method == "stderr_is_closing":
            return yes(self.errors.is_closing())
        if method == "get_limits":
            return "{} {}".format(*self.input.get_write_buffer_limits())
        if method == "process_info":
            return yes(transport.get_extra_info("subprocess").pid == transport.get_pid())
        if method == "pipe_info":
            return yes(self.input.get_extra_info("pipe") is not None)
        return self.change()

    def change(self):
        if self.method == "write":
            self.input.write(b"more")
        elif self.method == "pause_stdout":
            self.output.pause_reading()
            self.loop.call_soon(self.output.resume_reading)
        elif self.method == "resume_stdout":
            self.output.resume_reading()
        elif self.method == "writelines":
            self.input.writelines([b"mo", b"re"])
        elif self.method == "set_limits":
            self.input.set_write_buffer_limits(high=200_000, low=100)
        elif self.method == "set_protocol":
            self.transport.set_protocol(Recorder(self, 2))
        elif self.method == "stop":
            self.loop.stop()
        else:
            verb, _, stream = self.method.rpartition("_std")
            if not verb:
                self.input.write_eof()
            else:
                ends = {"in": self.input, "out": self.output, "err": self.errors}
                getattr(ends[stream], verb)()

    def story(self):
        text, sent = self.data.get(1), self.sent()
        if text is None:
            data = "none"
        else:
            whole = sent + (b"more" if text.endswith(b"more") else b"")
            data = str(len(text)) + ("" if whole.startswith(text) else " wrong")
        facts = [f"{name} x{count}" for name, count in sorted(self.facts.items())]
        words = sorted([*self.words.items(), ("data", data)])
        return [*facts, *(f"{name}: {word}" for name, word in words)]


# --- judging ---

SIGNALS = ("kill", "terminate", "send_signal", "close")


def what_is_free(callback, method):
    """The lines that hang on how fast the child is, in regular expressions."""
    free = []
    if callback == "pipe_connection_lost":  # the exit may be told already, or another pipe's end
        if method in (*SIGNALS, "get_returncode", "stdout_is_closing", "stderr_is_closing"):
            free.append("answer:")
        if method in SIGNALS:
            free.append("exited:")
    if callback == "process_exited" and method in ("stdout_is_closing", "stderr_is_closing"):
        free.append("answer:")
    if callback == "connection_made" and method in SIGNALS:
        free += ["data:", "pipe_data_received", "pipe 0:"]
    if callback == "connection_made" and method == "close_stdout":
        free.append("exited:")  # whether it wrote before
    if callback in ("pause_writing", "resume_writing"):
        if method in SIGNALS or method in ("abort_stdin", "close_stdout"):
            # How much had come by then, and whether more was to be written.
            free += ["data:", "pipe_data_received", "pipe 0:", "resume_writing", "exited:"]
    return re.compile("|".join(free) or "$^")


def expected(callback, method, lines):
    """asyncio's lines as the contract has them."""
    if method == "close":  # C-04: it is asked to end, and not killed
        lines = [line.replace("exited: -9", "exited: -15") for line in lines]
    if callback in ("process_exited", "connection_lost", "after"):
        # C-06: nobody was signalled; from CPython 3.11 on that is told late only.
        if method in ("kill", "terminate", "send_signal"):
            lines = [*(line for line in lines if line != "answer: gone"), "answer: gone"]
    if callback in ("pipe_connection_lost", "process_exited", "connection_lost", "after"):
        # C-22: what is lost throws nothing.
        lines = [line for line in lines if not line.startswith("answer: AttributeError")]
        if method == "pipe_info":  # asyncio has a file object, that is closed
            lines = [line.replace("answer: yes", "answer: no") for line in lines]
    if callback in ("connection_lost", "after") and method == "is_closing":
        lines = [line.replace("answer: no", "answer: yes") for line in lines]
    ends_stdin = ("close", "write_eof", "close_stdin", "abort_stdin")
    if callback == "resume_writing" and method in ends_stdin:  # C-12
        lines = [line for line in lines if line != "handler x1"]
    return lines


def driver_stories(chosen, pairs):
    environment = dict(os.environ)
    if chosen.backend:
        environment["FERRY_TEST_BACKEND"] = chosen.backend
    output = subprocess.run([chosen.driver, chosen.child], input="".join(
        f"{callback} {method}\n" for callback, method in pairs), env=environment,
        capture_output=True, text=True, check=True).stdout
    stories = {}
    for line in output.splitlines():
        if line.startswith("== "):
            stories[tuple(line[3:].split())] = lines = []
        else:
            lines.append(line)
    return stories


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pattern", nargs="?", default="")
    parser.add_argument("--driver", required=True)
    parser.add_argument("--child", required=True)
    parser.add_argument("--backend")
    chosen = parser.parse_args()
    if sys.version_info < OLDEST:
        print("SKIPPED: asyncio is older than 3.11's, so there is nothing to compare with")
        return 0
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    pairs = [(callback, method) for callback in CALLBACKS for method in METHODS
             if re.search(chosen.pattern, f"{callback} {method}")
             and not (method == "raise" and callback in ("call", "after"))]
    ferry = driver_stories(chosen, pairs)
    failed = 0
    for callback, method in pairs:
        free = what_is_free(callback, method)
        theirs = expected(callback, method, Play(chosen.child, callback, method).run())
        mine = ferry.get((callback, method), ["the driver ended"])
        mine, theirs = (sorted(line for line in lines if not free.match(line))
                        for lines in (mine, theirs))
        if mine != theirs:
            failed += 1
            print(f"{method} inside {callback}:")
            for line in sorted({*mine, *theirs}):
                both = line in mine and line in theirs
                print(f"  {'both' if both else 'ferry' if line in mine else 'asyncio':<8} {line}")
            print(f"  replay: tests/conformance/children.py … '^{callback} {method}$'")
    print(f"{len(pairs) - failed} pairs the same, {failed} different")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
