"""CPython's asyncio, by the contract in prims.hpp: prims_aio.py TEST N, or --version.

N is cut to what an interpreter can do in bearable time; results are per callback or timer anyway.
"""
import asyncio
import json
import os
import platform
import random
import sys
import threading
import time

CHURNED = 100_000
BATCH = 1000
now = time.perf_counter_ns


def pin(which):
    cpus = os.environ.get("BENCH_CPUS", "0,1").split(",")
    try:
        os.sched_setaffinity(0, {int(cpus[which])})
    except OSError:
        pass  # without that CPU we run where we may


class Tests:
    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.count = 0

    def turn(self):
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()

    def increment(self):
        self.count += 1

    def post_batch(self, n):
        n = min(n, 300_000)
        start = now()
        while self.count < n:
            for _ in range(BATCH):
                self.loop.call_soon(self.increment)
            self.turn()
        return {"ns": (now() - start) / self.count}

    def post_chain(self, n):
        n = min(n, 300_000)

        def chain():
            self.count += 1
            if self.count < n:
                self.loop.call_soon(chain)
            else:
                self.loop.stop()

        start = now()
        self.loop.call_soon(chain)
        self.loop.run_forever()
        return {"ns": (now() - start) / n}

    def xpost(self, n):
        n = min(n, 200_000)
        started = []

        def increment_and_stop():
            self.count += 1
            if self.count == n:
                self.loop.stop()

        def flood():
            pin(1)
            started.append(now())
            for _ in range(n):
                self.loop.call_soon_threadsafe(increment_and_stop)

        thread = threading.Thread(target=flood)
        thread.start()
        self.loop.run_forever()
        end = now()
        thread.join()
        return {"ns": (end - started[0]) / n}

    def xwake(self, n):
        latencies = []
        self.woken = 0

        def on_wake():
            self.woken = now()

        def wake():
            pin(1)
            for _ in range(n):
                time.sleep(0.0001)
                self.woken = 0
                before = now()
                self.loop.call_soon_threadsafe(on_wake)
                while not self.woken:
                    time.sleep(0)  # lets go of the interpreter's lock
                latencies.append(self.woken - before)
            self.loop.call_soon_threadsafe(self.loop.stop)

        thread = threading.Thread(target=wake)
        thread.start()
        self.loop.run_forever()
        thread.join()
        latencies.sort()
        return {"p50_us": latencies[n // 2] / 1e3, "p99_us": latencies[n * 99 // 100] / 1e3}

    def timer_cancel(self, n):
        delays = [1 + random.random() * 59 for _ in range(n)]
        start = now()
        handles = [self.loop.call_later(delay, self.increment) for delay in delays]
        armed = now()
        for handle in handles:
            handle.cancel()
        self.turn()  # here the loop takes the cancelled ones out
        return {"arm_ns": (armed - start) / n, "cancel_ns": (now() - armed) / n}

    def timer_churn(self, n):
        n = min(n, 300_000)
        handles = [
            self.loop.call_later(1 + random.random() * 59, self.increment) for _ in range(CHURNED)
        ]
        which = [random.randrange(CHURNED) for _ in range(n)]
        delays = [1 + random.random() * 59 for _ in range(n)]
        start = now()
        for i, k in enumerate(which):
            handles[k].cancel()
            handles[k] = self.loop.call_later(delays[i], self.increment)
            if i % 64 == 63:
                self.turn()
        return {"ns": (now() - start) / n}

    def timer_fire(self, n):
        delays = [(1 + random.randrange(100)) / 1e3 for _ in range(n)]
        start = now()
        handles = [self.loop.call_later(delay, self.increment) for delay in delays]
        armed = now()
        time.sleep(0.11)
        due = now()
        while self.count < len(handles):
            self.turn()
        return {"arm_ns": (armed - start) / n, "fire_ns": (now() - due) / n}


NAMES = ("post_batch", "post_chain", "xpost", "xwake", "timer_cancel", "timer_churn", "timer_fire")


def main():
    if sys.argv[1:] == ["--version"]:
        print("CPython", platform.python_version())
        return 0
    if len(sys.argv) != 3 or sys.argv[1] not in NAMES:
        return 2
    pin(0)
    print(json.dumps(getattr(Tests(), sys.argv[1])(int(sys.argv[2]))), flush=True)
    os._exit(0)  # a million handles need not be freed one by one


if __name__ == "__main__":
    sys.exit(main())
