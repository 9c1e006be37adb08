"""CPython's asyncio, by the contract in child.hpp: child_aio.py TEST N, or --version."""
import asyncio
import json
import os
import platform
import sys
import time

AT_A_TIME = 64
PROGRAM = "/bin/true"


class Child(asyncio.SubprocessProtocol):
    def __init__(self):
        self.received = 0
        self.ended = asyncio.get_running_loop().create_future()

    def pipe_data_received(self, fd, data):
        self.received += len(data)

    def connection_lost(self, exc):  # after the exit, and the end of all pipes
        self.ended.set_result(None)


async def run(*command, piped=asyncio.subprocess.PIPE):
    loop = asyncio.get_running_loop()
    ends = {"stdin": piped, "stderr": piped, "stdout": asyncio.subprocess.PIPE}
    transport, protocol = await loop.subprocess_exec(Child, *command, **ends)
    await protocol.ended
    if transport.get_returncode() != 0:
        sys.exit(f"{command[0]} ended with status {transport.get_returncode()}")
    return protocol.received


async def one_by_one(n):
    for _ in range(n):
        await run(PROGRAM)


async def spawn(n):
    await one_by_one(n)


async def spawn_many(n):
    width = min(n, AT_A_TIME)
    shares = [n // width + (i < n % width) for i in range(width)]
    await asyncio.gather(*map(one_by_one, shares))


async def stream(n):
    if await run(os.environ["PIPEGEN"], str(n), piped=asyncio.subprocess.DEVNULL) != n:
        sys.exit("the child's output is not complete")


def touch_heap():
    size = int(os.environ.get("FERRY_CHILD_HEAP_MIB", 0)) << 20
    heap = bytearray(size)  # zeroed memory of the system's is not touched by that
    for i in range(0, size, 4096):
        heap[i] = 1
    return heap


TESTS = {"spawn": spawn, "spawn_many": spawn_many, "stream": stream}


def main():
    if sys.argv[1:] == ["--version"]:
        print("CPython", platform.python_version())
        return 0
    if len(sys.argv) != 3 or sys.argv[1] not in TESTS:
        return 2
    try:
        os.sched_setaffinity(0, {int(os.environ.get("BENCH_CPUS", "0,1").split(",")[0])})
    except OSError:
        pass  # without that CPU we run where we may
    test, n = sys.argv[1], int(sys.argv[2])
    heap = touch_heap()
    wall, cpu = time.perf_counter(), time.process_time()
    asyncio.run(TESTS[test](n))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    if test == "stream":
        print(json.dumps({"MBps": n / 1e6 / wall, "parent_s_per_GiB": cpu * 2**30 / n}))
    else:
        print(json.dumps({"per_s": n / wall, "parent_us": cpu * 1e6 / n}))
    del heap
    return 0


if __name__ == "__main__":
    sys.exit(main())
