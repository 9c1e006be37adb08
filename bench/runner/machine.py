"""The machine that we measure on: its CPUs, a network of our own, and who else is busy there."""
import ctypes
import fcntl
import os
import platform
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time

IN_NAMESPACE = "FERRY_BENCH_NAMESPACE"


def note(text):
    """Progress and warnings: not part of the report."""
    print(text, file=sys.stderr, flush=True)


def enter_namespace():
    """Starts this program again in a network namespace, where that is allowed.

    There nobody else's sockets are, TCP has known settings, and closed connections do not pile up.
    """
    if os.environ.get(IN_NAMESPACE):
        raise_loopback()
        tune_network()
        return
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return
    if subprocess.run(["unshare", "-n", "true"], stderr=subprocess.DEVNULL).returncode != 0:
        return
    command = ["unshare", "-n", sys.executable] + sys.argv
    os.execvpe(command[0], command, dict(os.environ, **{IN_NAMESPACE: "1"}))


def raise_loopback():
    get_flags, set_flags, up = 0x8913, 0x8914, 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(any_socket, get_flags, request))[1]
        fcntl.ioctl(any_socket, set_flags, struct.pack("16sh14x", b"lo", flags | up))


def tune_network():
    settings = {
        "tcp_congestion_control": "reno",  # others pace, which means nothing on loopback
        "ip_local_port_range": "10240 65000",
        "tcp_max_tw_buckets": "0",
    }
    for name, value in settings.items():
        try:
            with open(f"/proc/sys/net/ipv4/{name}", "w", encoding="ascii") as file:
                file.write(value)
        except OSError as error:
            note(f"bench: {name} stays as it is: {error}")


def own_network():
    return bool(os.environ.get(IN_NAMESPACE))


def choose_cpus(wanted):
    """Two CPUs, for the server and for the generator: "0,1", or the first two that we may use."""
    allowed = sorted(os.sched_getaffinity(0))
    cpus = [int(part) for part in wanted.split(",")] if wanted else allowed[:2]
    if len(cpus) == 1:
        note("bench: only one CPU; server and generator share it, so only ratios mean something")
        cpus *= 2
    if len(cpus) != 2 or not set(cpus) <= set(allowed):
        sys.exit(f"bench: --cpus wants two of {allowed}")
    return cpus


def pinned(cpu):
    """For Popen: the child runs on `cpu`, and dies with us even if we are killed."""

    def prepare():
        os.sched_setaffinity(0, {cpu})
        parent_death_signal = 1
        ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGKILL)

    return prepare


def busy_seconds():
    with open("/proc/stat", encoding="ascii") as file:
        fields = [int(x) for x in file.readline().split()[1:9]]
    idle, iowait = fields[3], fields[4]
    return (sum(fields) - idle - iowait) / os.sysconf("SC_CLK_TCK")


class Patience:
    """Waits, before a point, while others use more than a tenth of a CPU; so long in all."""

    def __init__(self, seconds):
        self.left = seconds

    def wait_for_quiet(self):
        started = time.monotonic()
        while self.left > 0 and self.company() > 0.1:
            time.sleep(2)
            self.left -= 2.5
        waited = time.monotonic() - started
        if waited > 3:
            left = max(0.0, self.left)
            note(f"  waited {waited:.0f} s for a quiet machine ({left:.0f} s of patience left)")

    @staticmethod
    def company():
        seconds = 0.5
        before = busy_seconds()
        time.sleep(seconds)
        return (busy_seconds() - before) / seconds


def cpu_model():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.machine()


def description(contestants, cpus):
    with open("/proc/sys/net/ipv4/tcp_congestion_control", encoding="ascii") as file:
        congestion = file.read().strip()
    where = "own network namespace" if own_network() else "the machine's own loopback"
    return {
        "date": time.strftime("%Y-%m-%d %H:%M %Z"),
        "system": f"{platform.system()} {platform.release()}",
        "cpu": f"{cpu_model()}, {os.cpu_count()} logical",
        "pinned": f"server on CPU {cpus[0]}, generator on CPU {cpus[1]}",
        "network": f"{congestion}, {where}",
        "versions": ", ".join(dict.fromkeys(c.version() for c in contestants)),
    }
