#!/usr/bin/env python3
"""Runs the examples as a user would, and compares what they print.

usage: check.py NAME FOLDER [SUFFIX [EMULATOR]]

One check. FOLDER has the programs of examples/, whose names end in SUFFIX; EMULATOR runs them,
where this system cannot.
"""
import os
import re
import shutil
import signal
import socket
import subprocess
import sys


class Programs:
    """The examples, by their names."""

    def __init__(self, folder, suffix="", emulator=""):
        self.folder, self.suffix = folder, suffix
        self.emulator = emulator
        self.before = [emulator] if emulator else []  # of a command

    def command(self, name, *arguments):
        program = f"{self.folder}/{name}{self.suffix}"
        return [*self.before, program, *arguments]

    def run(self, *name_and_arguments):
        """What a program printed, and how it ended."""
        done = subprocess.run(self.command(*name_and_arguments), stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=60)
        return done.stdout, done.returncode, done.stderr


def expect(what, got, wanted):
    if got != wanted:
        sys.exit(f"{what}:\n  got    {got!r}\n  wanted {wanted!r}")


class OnTerminal:
    """A program on a terminal of its own, so that its lines come when they are printed."""

    def __init__(self, programs, name, *arguments):
        import pty  # not on Windows
        self.terminal, end = pty.openpty()
        self.process = subprocess.Popen(programs.command(name, *arguments),
                                        stdin=subprocess.DEVNULL, stdout=end, stderr=end)
        os.close(end)
        self.raw, self.text = b"", ""

    def wait_for(self, pattern):
        while not (found := re.search(pattern, self.text)):
            self.read()
        return found.group(1)

    def read(self):
        """Takes what comes next; whether there was something."""
        self.raw += (data := os.read(self.terminal, 4096))
        # An emulator's console shows, hides and moves its cursor, and has lines' ends of its own.
        text = re.sub(r"\x1b\[\?25[lh]|\x1b\[K|\r", "", self.raw.decode())
        self.text = re.sub(r"\x1b\[(\d*)C", lambda moved: " " * int(moved[1] or 1), text)
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


class Server(OnTerminal):
    def __init__(self, programs, name="tcp_echo_server"):
        super().__init__(programs, name, "0")
        self.port = int(self.wait_for(r"Serving on 127\.0\.0\.1:(\d+)\n"))


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


def udp_echo(programs):
    server = Server(programs, "udp_echo_server")
    out, status, _ = programs.run("udp_echo_client", str(server.port))
    expect("the client's output", out, "Send: Hello World!\nReceived: Hello World!\n"
           "Close the socket\nSocket closed, stop the event loop\n")
    expect("the client's exit status", status, 0)
    with socket.socket(type=socket.SOCK_DGRAM) as one, \
            socket.socket(type=socket.SOCK_DGRAM) as two:
        for client in (one, two):  # one protocol serves both
            client.settimeout(60)
            client.sendto(f"from {client is one}".encode(), ("127.0.0.1", server.port))
        for client in (one, two):
            answer = client.recvfrom(100)
            expect("the answer", answer, (f"from {client is one}".encode(),
                                          ("127.0.0.1", server.port)))
    expect("the server's exit status after Ctrl+C", server.interrupt(), 0)
    text = re.sub(r":\d+\n", ":PORT\n", server.text).replace("^C", "")
    said = "".join(f"Received '{what}' from 127.0.0.1:PORT\nSend '{what}' to 127.0.0.1:PORT\n"
                   for what in ("Hello World!", "from True", "from False"))
    expect("the server's output", text,
           "Starting UDP server\nServing on 127.0.0.1:PORT\n" + said)


def dns(programs):
    if not shutil.which("dig"):
        print("SKIPPED: dig is not installed")
        return
    long = [f"many.test={'x' * 200}{i}" for i in range(3)]
    command = programs.command("dns_server", "0", "host.test=192.0.2.1", "host.test=192.0.2.2",
                               "Host.test=2001:db8::1", "host.test=some text", *long)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as server:
        line = server.stdout.readline().decode()
        port = int(re.search(r"Serving on 127\.0\.0\.1:(\d+)\r?\n", line).group(1))

        def dig(*question):
            done = subprocess.run(
                ["dig", "@127.0.0.1", "-p", str(port), "+norecurse", "+ignore", "+time=20",
                 *question], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
            expect(f"dig's exit status for {question}", done.returncode, 0)
            return done.stdout
        try:
            expect("A", sorted(dig("+short", "host.test").split()), ["192.0.2.1", "192.0.2.2"])
            expect("AAAA", dig("+short", "hOsT.TEST", "AAAA"), "2001:db8::1\n")
            expect("TXT", dig("+short", "host.test", "TXT"), '"some text"\n')
            expect("none of that type", dig("+short", "host.test", "MX"), "")
            expect("all", len(dig("+short", "+notcp", "host.test", "ANY").splitlines()), 4)
            for question, wanted in ((("host.test",), "status: NOERROR"),
                                     (("host.test",), "flags: qr aa;"),
                                     (("no.test",), "status: NXDOMAIN"),
                                     (("many.test", "TXT"), "flags: qr aa tc;"),
                                     (("+opcode=2", "host.test"), "status: NOTIMP")):
                if wanted not in (text := dig(*question)):
                    sys.exit(f"no {wanted!r} for {question} in\n{text}")
            with socket.socket(type=socket.SOCK_DGRAM) as rude:  # nonsense, and then it lives
                rude.settimeout(60)
                for query in (b"", b"x" * 11, b"\0" * 12, b"\0\0\x80" + b"\0" * 20,
                              b"ab\0\0\0\1" + b"\0" * 6 + b"\x3fshort"):
                    rude.sendto(query, ("127.0.0.1", port))
                answers = [rude.recv(600) for _ in range(2)]
                expect("a format error", {answer[3] for answer in answers}, {1})
            expect("A again", len(dig("+short", "host.test").split()), 2)
        finally:
            server.kill()


def supervise_two(programs, tool):
    """Two that end by themselves."""
    out, status, _ = programs.run("supervisor", f"one={tool} both", f"two={tool} args 'two words'")
    lines = [re.sub(r"pid \d+", "pid N", line) for line in out.splitlines()]
    expect("what it said of one", sorted(line for line in lines if "one" in line), sorted(
        f"\x1b[31mone |\x1b[0m {text}"
        for text in ("* started, pid N", "out", "err", "* exited with 0")))
    expect("what it said of two", [line for line in lines if "two |" in line], [
        f"\x1b[32mtwo |\x1b[0m {text}"
        for text in ("* started, pid N", "[two words]", "* exited with 0")])
    expect("its exit status", status, 0)


def supervisor(programs):
    """Lines with names, new starts ever later, and the end of all of them by Ctrl+C."""
    tool = os.environ["FERRY_CHILD_TOOL"]
    tool = "Z:" + tool if programs.emulator else tool
    supervise_two(programs, tool)

    server = OnTerminal(programs, "supervisor", "--back-off=0.01", "--deadline=0.2",
                        f"failing={tool} exit 3", "missing=no-such-program",
                        f"lasting={tool} sleepforever")
    for pattern in (r"failing \|\x1b\[0m \* exited with (3)", r"starting again in (0\.01) s",
                    r"starting again in (0\.02) s", r"starting again in (0\.04) s",
                    r"missing \|\x1b\[0m \* exec no-such-program: (no such file or directory)",
                    r"lasting \|\x1b\[0m \* (started)"):
        server.wait_for(pattern)
    expect("its exit status after Ctrl+C", server.interrupt(), 0)
    if not re.search(r"lasting \|\x1b\[0m \* (ended by signal 15|exited with \d+)", server.text):
        sys.exit(f"the lasting one's end is not told in {server.text!r}")


def supervisor_deadline(programs):
    """Programs that do not end when asked, in whatever state Ctrl+C finds them."""
    deaf = "trap '' TERM; sleep 1000 & echo deaf; while :; do sleep 1000; done"
    # Its children live on and hold its output; they are told of by the group that they are in.
    group_of = r"started, pid (\d+)"
    supervisor = OnTerminal(programs, "supervisor", "--deadline=0.1", f'deaf=sh -c "{deaf}"')
    supervisor.wait_for(r"\x1b\[0m (deaf)")
    expect("its exit status", supervisor.interrupt(), 0)
    if "ended by signal 9" not in supervisor.text:
        sys.exit(f"the deaf one was not killed: {supervisor.text!r}")
    os.killpg(int(re.search(group_of, supervisor.text)[1]), signal.SIGKILL)
    for _ in range(20):  # Ctrl+C at any time: none is left
        supervisor = OnTerminal(programs, "supervisor", "--deadline=0.05", "ready=echo yes",
                                *[f"many{i}=sh -c \"trap '' TERM; while :; do sleep 1000; done\""
                                  for i in range(8)])
        supervisor.wait_for(r"(started)")
        expect("its exit status", supervisor.interrupt(), 0)
        started = re.findall(r"(many\d) \|\x1b\[0m \* started, pid (\d+)", supervisor.text)
        # By SIGTERM those that were asked before they could say that they ignore it.
        ended = re.findall(r"(many\d) \|\x1b\[0m \* ended by signal (?:9|15)", supervisor.text)
        for _, pid in started:
            try:
                os.killpg(int(pid), signal.SIGKILL)  # of sleep
            except ProcessLookupError:
                pass
        expect("those that have ended", sorted(ended), sorted(name for name, _ in started))


def supervisor_as_process_1(programs):
    """As in a container, where it is the first process and has nobody above it."""
    alone = ["unshare", "--user", "--map-root-user", "--fork", "--pid"]
    try:
        done = subprocess.run([*alone, "true"], capture_output=True, text=True)
    except FileNotFoundError as error:
        sys.exit(print(f"SKIPPED: {error}"))
    if done.returncode != 0:
        sys.exit(print(f"SKIPPED: {done.stderr}"))
    programs.before = alone
    supervise_two(programs, os.environ["FERRY_CHILD_TOOL"])


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
    checks = dict(check_contract=check_contract, dns=dns, echo=echo, udp_echo=udp_echo,
                  nobody_listens=nobody_listens, supervisor=supervisor,
                  supervisor_as_process_1=supervisor_as_process_1,
                  supervisor_deadline=supervisor_deadline,
                  bad_network=prints("bad_network", "500 networks, and the sum is right\n"),
                  register_socket=prints("register_socket", "Received: abc\n"),
                  watch_descriptor=prints("watch_descriptor", "Received: abc\n"))
    checks[sys.argv[1]](Programs(*sys.argv[2:]))
