#!/usr/bin/env python3
"""CPython's asyncio as the client of an echo server: many connections at once, all bytes checked.

Each connection sends a stream of its own (no two blocks alike), reads it back, and compares the
SHA-256 of what came back with that of what it sent. Exit code 0 only if all of them were right.
"""

import argparse
import asyncio
import hashlib
import os
import sys
import time

BLOCK = 128 * 1024
POOL = memoryview(os.urandom(4 * 1024 * 1024))
RECEIVE = memoryview(bytearray(256 * 1024))  # one for all: hashed before the next read


class EchoClient(asyncio.BufferedProtocol):
    """Sends `size` bytes, then an end of file; expects the same bytes and an end of file."""

    def __init__(self, number, size, tally):
        self.number = number
        self.size = size
        self.tally = tally
        self.loop = asyncio.get_running_loop()
        self.done = self.loop.create_future()  # of None, or of words that say what is wrong
        self.sent = 0
        self.received = 0
        self.sent_hash = hashlib.sha256()
        self.received_hash = hashlib.sha256()
        self.paused = True

    def connection_made(self, transport):
        self.transport = transport

    def start(self):
        self.paused = False
        self.send_some()

    def next_block(self):
        """A header that no other block of any connection has, then random bytes from the pool."""
        count = min(BLOCK, self.size - self.sent)
        header = self.number.to_bytes(4, "big") + self.sent.to_bytes(8, "big")
        at = (self.number * 7919 + self.sent // BLOCK * 104729) % (len(POOL) - BLOCK)
        return b"".join((header, POOL[at : at + BLOCK]))[:count]

    def send_some(self):
        if self.paused or self.transport.is_closing() or self.sent == self.size:
            return
        block = self.next_block()
        self.sent += len(block)
        self.sent_hash.update(block)
        self.transport.write(block)
        if self.sent == self.size:
            self.transport.write_eof()
        elif not self.paused:
            self.loop.call_soon(self.send_some)  # the other connections have their turn first

    def pause_writing(self):
        self.paused = True

    def resume_writing(self):
        self.paused = False
        self.send_some()

    def get_buffer(self, sizehint):
        return RECEIVE

    def buffer_updated(self, count):
        self.received += count
        self.tally.received += count
        self.received_hash.update(RECEIVE[:count])

    def connection_lost(self, error):
        wrong = None
        if error is not None:
            wrong = f"lost after {self.received} of {self.size} bytes: {error!r}"
        elif self.received != self.size:
            wrong = f"ended after {self.received} of {self.size} bytes"
        elif self.received_hash.digest() != self.sent_hash.digest():
            wrong = "other bytes came back than were sent"
        if not self.done.done():
            self.done.set_result(wrong)


class Tally:
    received = 0


async def show_progress(tally, total):
    """A line that is rewritten on a terminal; otherwise one line per quarter."""
    terminal = sys.stdout.isatty()
    shown = 0
    while True:
        await asyncio.sleep(0.2)
        percent = tally.received * 100 // total
        if terminal:
            print(f"\r    {percent:3d} %  {tally.received >> 20} MiB back and checked", end="")
            sys.stdout.flush()
        elif percent // 25 > shown and percent < 100:
            shown = percent // 25
            print(f"    {shown * 25} %", flush=True)


async def converse(clients, host, port):
    loop = asyncio.get_running_loop()
    await asyncio.gather(*(loop.create_connection(lambda c=c: c, host, port) for c in clients))
    for client in clients:  # only when all of them are connected
        client.start()
    return await asyncio.gather(*(client.done for client in clients))


async def run(arguments):
    tally = Tally()
    share, rest = divmod(arguments.bytes, arguments.connections)
    clients = [
        EchoClient(i, share + (i < rest), tally) for i in range(arguments.connections)
    ]
    progress = asyncio.create_task(show_progress(tally, arguments.bytes))
    began = time.monotonic()
    try:
        outcomes = await asyncio.wait_for(
            converse(clients, arguments.host, arguments.port), arguments.seconds
        )
    except asyncio.TimeoutError:
        outcomes = [
            c.done.result() if c.done.done() and not c.done.cancelled()
            else f"{c.received} of {c.size} bytes after {arguments.seconds:.0f} s"
            for c in clients
        ]
    except OSError as error:
        outcomes = [f"could not connect: {error}"] * len(clients)
    seconds = time.monotonic() - began
    progress.cancel()
    if sys.stdout.isatty():
        print("\r\033[K", end="")
    return report(outcomes, tally, seconds)


def report(outcomes, tally, seconds):
    right = outcomes.count(None)
    for number, wrong in [(n, w) for n, w in enumerate(outcomes) if w is not None][:5]:
        print(f"  ✗ connection {number}: {wrong}")
    mark = "✓" if right == len(outcomes) else "✗"
    print(
        f"  {mark} asyncio: {len(outcomes)} connections at once, {tally.received / 2**30:.2f} GiB"
        f" there and back in {seconds:.1f} s ({tally.received / 2**20 / seconds:.0f} MiB/s each way)"
    )
    print(f"  {mark} SHA-256 of what came back: right on {right} of {len(outcomes)} connections")
    return 0 if right == len(outcomes) else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("port", type=int)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--bytes", type=int, default=2**30, help="of all connections together")
    parser.add_argument("--seconds", type=float, default=35, help="give up after this long")
    sys.exit(asyncio.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()
