"""Counts a server's system calls, by perf (which does not disturb it) and by strace (which names
them). What is not installed, or not allowed, is left out."""
import functools
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time

PERF_EVENT = "raw_syscalls:sys_enter"


@functools.cache
def usable_tools():
    tools = []
    probes = {
        "perf": ["perf", "stat", "-e", PERF_EVENT, "true"],
        "strace": ["strace", "-c", "-o", "/dev/null", "true"],
    }
    for tool, probe in probes.items():
        if shutil.which(tool) is None:
            continue
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        if subprocess.run(probe, **quiet).returncode == 0:
            tools.append(tool)
    return tuple(tools)


class Counting:
    """While it is entered, `tool` watches the process."""

    def __init__(self, tool, pid):
        self.tool = tool
        self.pid = pid
        self.file = tempfile.NamedTemporaryFile("r", prefix="ferry-bench-")
        if tool == "perf":
            options = ["stat", "-x,", "-o", self.file.name, "-e", PERF_EVENT, "-p", str(pid)]
        else:
            options = ["-f", "-c", "-o", self.file.name, "-p", str(pid)]
        self.command = [tool] + options
        self.text = ""

    def __enter__(self):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(self.command, **quiet)
        give_up = time.monotonic() + 5
        while not self.attached() and time.monotonic() < give_up:
            time.sleep(0.01)
        time.sleep(0.1)  # to all threads, by now
        return self

    def attached(self):
        try:
            if self.tool == "perf":
                folder = f"/proc/{self.process.pid}/fd"
                links = (os.readlink(f"{folder}/{name}") for name in os.listdir(folder))
                return any("perf_event" in link for link in links)
            with open(f"/proc/{self.pid}/status", encoding="ascii") as status:
                return any(re.match(r"TracerPid:\s+[1-9]", line) for line in status)
        except OSError:
            return False

    def __exit__(self, *_):
        time.sleep(0.05)
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        with open(self.file.name, encoding="utf-8") as report:
            self.text = report.read()
        self.file.close()

    def calls_per(self, messages):
        """perf: one number; strace: {call: number}. None if the tool told nothing."""
        if self.tool == "perf":
            found = re.search(r"^(\d+),", self.text, re.MULTILINE)
            return int(found[1]) / messages if found else None
        row = re.compile(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$")
        rows = [row.match(line) for line in self.text.splitlines()]
        calls = {m[2]: int(m[1]) / messages for m in rows if m and m[2] != "total"}
        return dict(sorted(calls.items(), key=lambda item: -item[1])) or None
