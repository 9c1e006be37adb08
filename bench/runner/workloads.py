"""What is measured: workloads, their points, and the numbers that are reported of each."""
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Metric:
    key: str  # in the JSON object that the generator or the program prints
    title: str
    scale: float = 1.0
    decimals: int = 2
    ratio: bool = True  # whether it is compared with the first contestant


@dataclass(frozen=True)
class Point:
    label: str
    mode: str = ""  # of the server
    load: str = ""  # arguments of the generator
    test: str = ""  # of a program that measures itself, instead of mode and load
    number: int = 0  # its N
    program: str = "prims"  # or "child"
    heap_mib: int = 0  # that a program for children touches first
    metrics: tuple = ()  # if they are not those of the workload


@dataclass(frozen=True)
class Workload:
    name: str
    title: str
    points: tuple
    metrics: tuple = ()
    fresh: bool = False  # a new server for every run
    also: tuple = ()  # extra contestants that belong to it
    counts_calls: bool = False  # system calls are counted, nothing is timed


SIZES = {"64": 64, "1200": 1200, "1K": 1024, "16K": 16384}
STREAM_SIZES = ("64", "1K", "16K")
RATE = Metric("rate", "messages/s, thousands", 1e-3, 1)
CPU = Metric("srv_us", "server CPU per message, us")
P50 = Metric("p50", "latency p50, us", decimals=1)
P99 = Metric("p99", "latency p99, us", decimals=1)
P999 = Metric("p999", "latency p99.9, us", decimals=1)
NS = Metric("ns", "ns")


def echo_point(conns, size, inflight=1, mode="echo"):
    load = f"echo --conns {conns} --size {SIZES[size]} --inflight {inflight} --time {{time}}"
    return Point(f"{conns}x{size}", mode, load)


def bulk_point(label, mode, conns):
    return Point(label, mode, f"bulk --mode {mode} --conns {conns} --bytes {{bytes}}")


def over_tls(point):
    modes = {"echo": "tls", "sink": "tlssink"}
    return replace(point, mode=modes[point.mode], load=point.load + " --tls 1")


def churn_point(conns):
    load = f"churn --conns {conns} --time {{time}} --count {{churn}}"
    return Point(f"{conns} at a time", "echo", load)


def handshake_point(label, more=""):
    load = "churn --conns 16 --time {time} --count {churn} --tls 1" + more
    return Point(label, "tls", load)


def udp_point(conns, size):
    inflight = 1 if conns == 1 else 8
    load = f"udp --conns {conns} --size {SIZES[size]} --inflight {inflight} --time {{time}}"
    return Point(f"{conns}x{size}", "udp", load)


def test_point(test, number, *metrics):
    return Point(test, test=test, number=number, metrics=metrics or (NS,))


def child_point(label, test, number, *metrics, heap_mib=0):
    return Point(
        label, test=test, number=number, metrics=metrics, program="child", heap_mib=heap_mib
    )


def call_point(label, mode, load, count):
    return Point(label, mode, f"{load} --count {count}", number=count)


ARM = Metric("arm_ns", "arm, ns")
CANCEL = Metric("cancel_ns", "cancel, ns")
FIRE = Metric("fire_ns", "expiry, ns")
MILLION = 1_000_000

ECHO = Workload(
    "echo",
    "Echo round trips: one message in flight per connection (connections x bytes)",
    tuple(echo_point(c, s) for s in STREAM_SIZES for c in (1, 16, 128, 1024)),
    (RATE, CPU, P50, P99, P999),
)
PIPELINE = Workload(
    "pipeline",
    "Echo with 16 messages in flight per connection (connections x bytes)",
    tuple(echo_point(c, s, 16) for s in ("64", "1K") for c in (1, 16, 128)),
    (RATE, CPU, P50, P99),
)
SPLIT = Workload(
    "split",
    "16 in flight, and the server answers each 64-byte message with a write of its own",
    tuple(echo_point(c, "64", 16, "split") for c in (1, 16, 128)),
    (RATE, CPU, P50, P99),
)
BULK = Workload(
    "bulk",
    "Bulk, one way and both ways (connections)",
    (
        bulk_point("one way, 1", "sink", 1),
        bulk_point("one way, 16", "sink", 16),
        bulk_point("both ways, 1", "echo", 1),
        bulk_point("both ways, 16", "echo", 16),
    ),
    (
        Metric("MBps", "MB/s", decimals=0),
        Metric("srv_s_per_GiB", "server CPU seconds per GiB", decimals=3),
    ),
)
TLS = Workload(
    "tls",
    "Echo over TLS 1.3: one message in flight per connection (connections x bytes)",
    tuple(over_tls(echo_point(c, s)) for s in STREAM_SIZES for c in (1, 16, 256)),
    (RATE, CPU, P50, P99),
)
TLS_BULK = Workload(
    "tls-bulk",
    "Bulk over TLS 1.3, one way and both ways (connections)",
    tuple(over_tls(point) for point in BULK.points),
    BULK.metrics,
)
CHURN = Workload(
    "churn",
    "Connection churn: connect, echo 64 bytes, close",
    (churn_point(1), churn_point(32)),
    (
        Metric("rate", "connections/s, thousands", 1e-3, 1),
        Metric("srv_us", "server CPU per connection, us"),
        P50,
        P99,
    ),
)
LATENCY = Workload(
    "latency",
    "Latency at low load: one connection, 64 bytes, a generator that never sleeps",
    (
        Point("back to back", "echo", "echo --spin 1 --time {time}"),
        Point("one per ms", "echo", "echo --gap 0.001 --time {time}"),
    ),
    (P50, P99, P999, CPU),
    also=("epoll-spin", "ferry-spin"),
)
IDLE = Workload(
    "idle",
    "Memory per idle connection",
    (Point("10000", "echo", "idle --conns {idle}"),),
    (Metric("bytes_per_conn", "private bytes per connection", decimals=0, ratio=False),),
    fresh=True,
)
TLS_HANDSHAKES = Workload(
    "tls-hs",
    "Handshakes of TLS 1.3: connect, shake hands, echo 64 bytes, close; 16 at a time",
    (
        handshake_point("full"),
        handshake_point("resumed", " --resume 1"),
    ),
    (
        Metric("rate", "connections/s", decimals=0),
        Metric("srv_us", "server CPU per connection, us", decimals=1),
        P50,
        P99,
    ),
)
TLS_IDLE = Workload(
    "tls-idle",
    "Memory per idle TLS connection",
    (Point("2000", "tls", "idle --conns {tls_idle} --tls 1"),),
    IDLE.metrics,
    fresh=True,
)
UDP_TRAINS = "udp --size 1200 --inflight 64 --train 32 --time {time}"
UDP_FLOOD = "udp --conns 4 --flood 1 --time {time}"
UDP = Workload(
    "udp",
    "Datagrams there and back: one in flight of one client, 8 of each of many (clients x bytes)",
    tuple(udp_point(c, s) for s in ("64", "1200") for c in (1, 16, 64))
    + (
        Point("trains 1x1200", "udp", UDP_TRAINS),
        Point("flood 4x64", "udp", UDP_FLOOD),
    ),
    (
        Metric("rate", "packets/s, thousands", 1e-3, 1),
        Metric("srv_us", "server CPU per packet, us"),
        Metric("loss", "lost, %", ratio=False),
        P50,
        P99,
    ),
    also=("epoll-one", "epoll-gso", "ferry-batch", "ferry-no-offload"),
)
POST = Workload(
    "post",
    "call_soon: callbacks posted by the loop's own thread",
    (test_point("post_batch", MILLION), test_point("post_chain", MILLION)),
)
XPOST = Workload(
    "xpost",
    "Callbacks posted by another thread",
    (
        test_point("xpost", MILLION),
        test_point("xwake", 1000, Metric("p50_us", "p50, us"), Metric("p99_us", "p99, us")),
    ),
)
TIMERS = Workload(
    "timers",
    "Timers: a million made, cancelled, fired; churn among 100 thousand",
    (
        test_point("timer_cancel", MILLION, ARM, CANCEL),
        test_point("timer_churn", MILLION, Metric("ns", "cancel and arm, ns")),
        test_point("timer_fire", MILLION, ARM, FIRE),
    ),
)
CHILD_US = Metric("parent_us", "parent's CPU, us", decimals=1)
CHILDREN = Metric("per_s", "children/s", decimals=0)
CHILD = Workload(
    "child",
    "Children: /bin/true with three pipes, one after another and 64 at a time; what one writes",
    (
        child_point("one", "spawn", 400, CHILD_US, CHILDREN),
        child_point("64", "spawn_many", 640, CHILD_US, CHILDREN),
        child_point("one, 4 GiB heap", "spawn", 50, CHILD_US, CHILDREN, heap_mib=4096),
        child_point(
            "output",
            "stream",
            2**30,
            Metric("parent_s_per_GiB", "parent's CPU, s per GiB", decimals=3),
            Metric("MBps", "MB/s", decimals=0),
        ),
    ),
)
SYSCALLS = Workload(
    "syscalls",
    "System calls of the server per echoed message (connections x bytes)",
    (
        call_point("1x64", "echo", "echo", 2000),
        call_point("16x64", "echo", "echo --conns 16", 8000),
        call_point("16x64, 16 in flight", "echo", "echo --conns 16 --inflight 16", 32000),
        call_point("16x64, split", "split", "echo --conns 16 --inflight 16", 32000),
        call_point("16x64, TLS", "tls", "echo --conns 16 --tls 1", 8000),
        call_point("16x64, UDP", "udp", "udp --conns 16 --inflight 8", 16000),
    ),
    counts_calls=True,
)
WORKLOADS = {
    workload.name: workload
    for workload in (
        ECHO, PIPELINE, SPLIT, BULK, CHURN, LATENCY, IDLE, TLS, TLS_BULK, TLS_HANDSHAKES,
        TLS_IDLE, UDP, POST, XPOST, TIMERS, CHILD, SYSCALLS,
    )
}


@dataclass(frozen=True)
class Headline:
    """One number that stands for much; the summary, the bars and the chart are made of these."""

    title: str
    workload: str
    point: str
    key: str
    unit: str
    per: str  # what it is the cost of
    decimals: int = 2
    ratio: bool = True


HEADLINES = (
    Headline("echo 16 x 64 B", "echo", "16x64", "srv_us", "us", "per message"),
    Headline("echo 128 x 1 KiB", "echo", "128x1K", "srv_us", "us", "per message"),
    Headline("echo 16 x 16 KiB", "echo", "16x16K", "srv_us", "us", "per message"),
    Headline("16 in flight, 16 x 64 B", "pipeline", "16x64", "srv_us", "us", "per message"),
    Headline("split: a write per message", "split", "16x64", "srv_us", "us", "per message"),
    Headline("bulk, one way", "bulk", "one way, 1", "srv_s_per_GiB", "s", "per GiB", 3),
    Headline("bulk, both ways", "bulk", "both ways, 1", "srv_s_per_GiB", "s", "per GiB", 3),
    Headline("connection churn", "churn", "32 at a time", "srv_us", "us", "per connection", 1),
    Headline("TLS echo 16 x 64 B", "tls", "16x64", "srv_us", "us", "per message"),
    Headline("TLS echo 16 x 16 KiB", "tls", "16x16K", "srv_us", "us", "per message"),
    Headline("TLS bulk, one way", "tls-bulk", "one way, 1", "srv_s_per_GiB", "s", "per GiB", 3),
    Headline("TLS bulk, both ways", "tls-bulk", "both ways, 1", "srv_s_per_GiB", "s", "per GiB", 3),
    Headline("TLS handshake", "tls-hs", "full", "srv_us", "us", "per connection", 1),
    Headline("TLS resumed", "tls-hs", "resumed", "srv_us", "us", "per connection", 1),
    Headline("UDP 16 x 64 B", "udp", "16x64", "srv_us", "us", "per packet"),
    Headline("UDP 16 x 1200 B", "udp", "16x1200", "srv_us", "us", "per packet"),
    Headline("UDP in trains", "udp", "trains 1x1200", "srv_us", "us", "per packet"),
    Headline("UDP flood", "udp", "flood 4x64", "srv_us", "us", "per packet"),
    Headline("UDP flood: lost", "udp", "flood 4x64", "loss", "%", "of the packets", 1, False),
    Headline("call_soon", "post", "post_batch", "ns", "ns", "per callback", 1),
    Headline("post from another thread", "xpost", "xpost", "ns", "ns", "per callback", 1),
    Headline("timer: cancel and arm", "timers", "timer_churn", "ns", "ns", "per pair", 1),
    Headline("timer: expiry of 1 M", "timers", "timer_fire", "fire_ns", "ns", "per timer", 1),
    Headline("child: start to end", "child", "one", "parent_us", "us", "per child", 1),
    Headline("child: its output", "child", "output", "parent_s_per_GiB", "s", "per GiB", 3),
    Headline(
        "idle connection", "idle", "10000", "bytes_per_conn", "bytes", "per connection", 0, False
    ),
    Headline(
        "idle TLS connection", "tls-idle", "2000", "bytes_per_conn", "bytes", "per connection", 0,
        False,
    ),
)
