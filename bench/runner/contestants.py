"""Who is compared. One entry each; what is not built (its library was not found) takes no part.

To add one: a program that keeps the contract at the top of peers/server.hpp (and others for those
of peers/prims.hpp and peers/child.hpp), and an entry here. The first contestant is what the others
are compared with.
"""
import os
import subprocess
import sys
from dataclasses import dataclass

BENCH = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MODES = ("echo", "sink", "split")
TLS_MODES = ("tls", "tlssink")


@dataclass(frozen=True)
class Contestant:
    name: str
    server: tuple = ()  # command; MODE, PORT and the variant are appended
    prims: tuple = ()  # command; TEST and N are appended
    child: tuple = ()  # the same, for child processes; the variant is appended
    tls: tuple = ()  # command of its server for TLS_MODES; may not be built where the others are
    variant: str = ""  # of its server, or of its program for children
    modes: tuple = MODES
    udp: str = ""  # what its server calls mode udp; empty: it knows no such thing
    extra: bool = False  # takes part only where it is asked for

    def command(self, mode):
        """Of its server in this mode; empty if it has none."""
        if mode in TLS_MODES:
            return self.tls if self.tls and os.path.exists(self.tls[0]) else ()
        return self.server if mode in self.modes or (mode == "udp" and self.udp) else ()

    def called(self, mode):
        """What its server calls this mode."""
        return self.udp if mode == "udp" else mode

    def tester(self, point):
        """Of its program for such a test; empty if it has none, or it is not built."""
        if point.program == "prims":
            return self.prims
        if not all(os.path.exists(part) for part in self.child):
            return ()
        return self.child

    def built(self):
        command = self.server or self.prims or self.child
        return all(os.path.exists(part) for part in command)

    def version(self):
        command = list(self.server or self.prims or self.child) + ["--version"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
            return done.stdout.strip()
        except (OSError, subprocess.SubprocessError):
            return "unknown version"


def all_contestants(build):
    """Every contestant there could be, with programs in the folder `build`."""

    def program(name):
        return (os.path.join(build, name),)

    def script(name):
        return (sys.executable, os.path.join(BENCH, "peers", name))

    epoll, ferry = program("peer_epoll"), program("ferry_server")
    raw_tls = program("peer_tls_epoll")  # not built without OpenSSL, nor has ferry TLS then
    raw_child = program("child_posix_spawn")
    ferry_tls = ferry if os.path.exists(raw_tls[0]) else ()
    return [
        Contestant("epoll", epoll, program("prims_epoll"), raw_child, raw_tls, udp="udp-mmsg"),
        Contestant(
            "ferry", ferry, program("ferry_prims"), program("ferry_child"), ferry_tls, udp="udp"
        ),
        Contestant(
            "libuv", program("peer_uv"), program("prims_uv"), program("child_uv"), udp="udp"
        ),
        Contestant(
            "asio", program("peer_asio"), program("prims_asio"), tls=program("peer_tls_asio"),
            udp="udp",
        ),
        Contestant("libevent", program("peer_event"), program("prims_event"), udp="udp"),
        Contestant(
            "bufferevent", program("peer_bufferevent"), tls=program("peer_tls_bufferevent")
        ),
        Contestant(
            "asyncio", script("aio.py"), script("prims_aio.py"), script("child_aio.py"), udp="udp"
        ),
        # Variants: --extra, or named by --only, or part of a workload.
        Contestant("epoll-spin", epoll, variant="spin", extra=True),
        Contestant("epoll-lt", epoll, variant="lt", modes=("echo", "sink"), extra=True),
        Contestant("epoll-naive", epoll, variant="naive", modes=("split",), extra=True),
        Contestant("epoll-one", epoll, modes=(), udp="udp", extra=True),
        Contestant("epoll-gso", epoll, modes=(), udp="udp-gso", extra=True),
        Contestant("epoll-fork", child=raw_child, variant="fork", extra=True),
        Contestant("epoll-smallpipe", child=raw_child, variant="smallpipe", extra=True),
        Contestant("epoll-socketpair", child=raw_child, variant="socketpair", extra=True),
        Contestant("ferry-spin", ferry, variant="spin", udp="udp", extra=True),
        Contestant("ferry-poll", ferry, variant="poll", udp="udp", extra=True),
        Contestant("ferry-batch", ferry, modes=(), udp="udp-batch", extra=True),
        Contestant(
            "ferry-no-offload", ferry, variant="no-offload", modes=(), udp="udp", extra=True
        ),
    ]
