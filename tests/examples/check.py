#!/usr/bin/env python3
"""Runs the examples as a user would, and compares what they print.

usage: check.py NAME FOLDER [SUFFIX [EMULATOR]]

One check. FOLDER has the programs of examples/, whose names end in SUFFIX; EMULATOR runs them,
where this system cannot.
"""
import os
import re
import signal
import socket
import subprocess
import sys


class Programs:
    """The examples, by their names."""

    def __init__(self, folder, suffix="", emulator=""):
        self.folder, self.suffix, self.emulator = folder, suffix, emulator

    def command(self, name, *arguments):
        program = f"{self.folder}/{name}{self.suffix}"
        return ([self.emulator] if self.emulator else []) + [program, *arguments]

    def run(self, *name_and_arguments):
        """What a program printed, and how it ended."""
        done = subprocess.run(self.command(*name_and_arguments), stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=60)
        return done.stdout, done.returncode, done.stderr


def expect(what, got, wanted):
    if got != wanted:
        sys.exit(f"{what}:\n  got    {got!r}\n  wanted {wanted!r}")


class Server:
    """tcp_echo_server on a terminal of its own, so that its lines come when they are printed."""

    def __init__(self, programs):
        import pty  # not on Windows
        self.terminal, end = pty.openpty()
        self.process = subprocess.Popen(programs.command("tcp_echo_server", "0"),
                                        stdin=subprocess.DEVNULL, stdout=end, stderr=end)
        os.close(end)
        self.raw, self.text = b"", ""
        self.port = int(self.wait_for(r"Serving on 127\.0\.0\.1:(\d+)\n"))

    def wait_for(self, pattern):
        while not (found := re.search(pattern, self.text)):
            self.read()
        return found.group(1)

    def read(self):
        """Takes what comes next; whether there was something."""
        self.raw += (data := os.read(self.terminal, 4096))
        # An emulator's console shows and hides its cursor, and has lines' ends of its own.
        self.text = re.sub(r"\x1b\[\?25[lh]|\r", "", self.raw.decode())
        return data

    def interrupt(self):
        """Ctrl+C; all that it printed."""
        self.process.send_signal(signal.SIGINT)
        try:
            while self.read():
                pass
        except OSError:  # the terminal's other end is gone
            pass
        return self.process.wait(timeout=60)


def echo(programs):
    server = Server(programs)
    out, status, _ = programs.run("tcp_echo_client", str(server.port))
    expect("the client's output", out, "Data sent: 'Hello World!'\n"
           "Data received: 'Hello World!'\nThe server closed the connection\n"
           "Stop the event loop\n")
    expect("the client's exit status", status, 0)
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as second:
        second.sendall(b"again")  # a new protocol instance
        expect("a plain client's answer", second.recv(100), b"again")
        expect("its end", second.recv(100), b"")
    # One that says nothing: Ctrl+C ends it with the server.
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as idle:
        server.wait_for(r"(?:Connection from[^\0]*){3}()")
        expect("the server's exit status after Ctrl+C", server.interrupt(), 0)
        expect("the idle client's end", idle.recv(100), b"")
    text = re.sub(r":\d+\n", ":PORT\n", server.text).replace("^C", "")
    expect("the server's output", text, "Serving on 127.0.0.1:PORT\n"
           "Connection from 127.0.0.1:PORT\nData received: 'Hello World!'\n"
           "Send: 'Hello World!'\nClose the client socket\n"
           "Connection from 127.0.0.1:PORT\nData received: 'again'\nSend: 'again'\n"
           "Close the client socket\nConnection from 127.0.0.1:PORT\n")


def nobody_listens(programs):
    with socket.socket() as taken:  # bound and not listening: its port is nobody's
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        _, status, errors = programs.run("tcp_echo_client", str(port))
    if status == 0 or f"connect to 127.0.0.1:{port}: connection refused" not in errors:
        sys.exit(f"no clear error: status {status}, {errors!r}")


def prints(name, output):
    def check(programs):
        out, status, _ = programs.run(name)
        expect("the output", (out, status), (output, 0))
    return check


def check_contract(programs):
    out, status, _ = programs.run("check_contract")
    expect("with the good protocol", (out, status), ("The contract was kept\n", 0))
    out, status, _ = programs.run("check_contract", "late")
    expect("with the bad protocol's status", status, 1)
    out = re.sub(r"(connection_made\().*\)", r"\1)", out)  # a pair of TCP sockets has names
    expect("its breach", out.splitlines(), [
        "protocol: write() on a transport after connection_lost() has returned", "connection 1:",
        "  connection_made()", "  data_received(3 bytes)", "    > write(3 bytes)",
        "    > close()", "  connection_lost()", "  > write(4 bytes)"])


if __name__ == "__main__":
    checks = dict(check_contract=check_contract, echo=echo, nobody_listens=nobody_listens,
                  bad_network=prints("bad_network", "500 networks, and the sum is right\n"),
                  register_socket=prints("register_socket", "Received: abc\n"),
                  watch_descriptor=prints("watch_descriptor", "Received: abc\n"))
    checks[sys.argv[1]](Programs(*sys.argv[2:]))
