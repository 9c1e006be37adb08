#!/usr/bin/env python3
"""Plays scenarios on CPython's asyncio and prints what happened: the oracle.

    asyncio_driver.py [--patience SECONDS] FILE…

ferry_driver.cpp does the same on ferry, function by function: keep the two side by side.
"""
from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import gc
import logging
import os
import select
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import termios

import amended
import scenario as language
from scenario import BIG, SMALL

BUFFER = 65536  # the kernel's buffers of every socket: together far below BIG
IDLE_TURNS = 5  # what a chain of callbacks needs to come to its end
# The callbacks whose exceptions end the connection (C-15).
FATAL = ("data_received", "eof_received", "get_buffer", "buffer_updated")
WORDS = {errno.ECONNRESET: "reset", errno.EPIPE: "broken_pipe", errno.ETIMEDOUT: "timed_out",
         errno.ECONNREFUSED: "refused", errno.ENOBUFS: "no_buffers", errno.ENOENT: "no_entry",
         errno.ECONNABORTED: "aborted", errno.ENOTCONN: "not_connected",
         errno.EMSGSIZE: "too_large", errno.EAFNOSUPPORT: "other_family"}


class UserError(Exception):
    link = ""


class UserOsError(OSError):
    link = ""


def word(exc):
    """An exception in the word that both drivers have for it."""
    if exc is None:
        return "none"
    if isinstance(exc, UserError):
        return "user"
    if isinstance(exc, asyncio.CancelledError):
        return "cancelled"
    if isinstance(exc, ssl.SSLError):
        return "cut" if isinstance(exc, ssl.SSLEOFError) else "tls"
    if isinstance(exc, BrokenPipeError):
        return "broken_pipe"  # asyncio makes them without a number
    if isinstance(exc, OSError):
        return WORDS.get(exc.errno, f"os_{exc.errno}")
    if isinstance(exc, NotImplementedError):
        return "unsupported"
    if isinstance(exc, (RuntimeError, asyncio.InvalidStateError)):
        return "misuse"
    if isinstance(exc, (ValueError, TypeError)):
        return "invalid"
    return f"other_{type(exc).__name__}"


PATTERN = bytes((i * 31 + i // 251) % 251 for i in range(251 * 251))


def pattern(start, size):
    """Bytes that show what was lost, repeated or crossed."""
    at = start % len(PATTERN)
    return (PATTERN[at:] + PATTERN * (size // len(PATTERN) + 1))[:size]


def size_of(text):
    return BIG if text == "big" else int(text)


def yes(value):
    return "yes" if value else "no"


class Trace:
    def __init__(self):
        self.lines = []  # [actor, depth, text, count]: what differs by its count only is merged
        self.depth = 0
        self.on = True
        self.last = {}

    def add(self, actor, text, count=None):
        if not self.on:
            return
        last = self.last.get(actor)
        if count is not None and last and last[1] == self.depth and last[2] == text and last[3]:
            last[3] += count
            return
        self.last[actor] = [actor, self.depth, text, count]
        self.lines.append(self.last[actor])

    def print(self, name):
        print(f"== {name}")
        for actor, depth, text, count in self.lines:
            amount = "" if count is None else f" {count}"
            print(f"{actor}| {'  ' * depth}{text}{amount}")


def small_buffers(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)


def is_dead(fd):
    """Whether the connection is over in both directions, by an end or by a reset."""
    poll = select.poll()
    poll.register(fd, 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))


def has_left(sock):
    """Whether all that was sent has come to the other system's end."""
    return fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0" * 4) == b"\0" * 4


def has_come(fd, count):
    """Whether so many bytes, or an end, wait to be read."""
    sock = socket.socket(fileno=os.dup(fd))
    try:
        got = len(sock.recv(count, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        return got == 0 or got >= count
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        sock.close()


class Secrets:
    """Contexts of both sides, made when the first one is asked for."""

    def __init__(self, folder):
        self.folder = folder
        self.contexts = None

    def context(self, server_side):
        if self.contexts is None:
            key, certificate = (os.path.join(self.folder, name) for name in ("key", "certificate"))
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-days", "2",
                            "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
                            "-keyout", key, "-out", certificate], check=True, capture_output=True)
            server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            server.load_cert_chain(certificate, key)
            self.contexts = (ssl.create_default_context(cafile=certificate), server)
        return self.contexts[server_side]


class SecretEnd:
    """A peer's end of TLS, without asyncio."""

    def __init__(self, context, server_side):
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        name = None if server_side else "localhost"
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side, name)
        self.is_open = self.heard_goodbye = False
        self.early = b""
        self.handshake()

    def handshake(self):
        if self.is_open:
            return
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
            self.is_open = True
            if self.early:
                self.tls.write(self.early)

    def open(self, cipher):
        self.incoming.write(cipher)
        plain = b""
        with contextlib.suppress(ssl.SSLError):
            self.handshake()
            while self.is_open and not self.heard_goodbye:
                plain += self.read()
        return plain

    def read(self):
        try:
            some = self.tls.read(262144)
        except ssl.SSLZeroReturnError:  # we have said it, too
            some = b""
        self.heard_goodbye = not some
        return some

    def seal(self, plain):
        if self.is_open:
            self.tls.write(plain)
        else:
            self.early += plain

    def say_goodbye(self):
        with contextlib.suppress(ssl.SSLError):
            self.tls.unwrap()

    def take(self):
        return self.outgoing.read()


class PipeEnd:
    """One end of a pipe, in a socket's words."""

    def __init__(self, fd):
        self.fd = fd
        os.set_blocking(fd, False)

    def fileno(self):
        return self.fd

    def recv(self, most):
        return os.read(self.fd, most)

    def send(self, data):
        return os.write(self.fd, data)

    def close(self):
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1


def new_pipe(kind, path):
    """The two ends of a new pipe, of a FIFO at this path, or of a pair of sockets."""
    if kind == "socketpair":
        pair = socket.socketpair()
        for sock in pair:
            small_buffers(sock)
        return [PipeEnd(sock.detach()) for sock in pair]
    if kind == "pipe":
        return [PipeEnd(fd) for fd in os.pipe()]
    os.mkfifo(path)
    # The reading one first: else nobody is there to write to.
    return [PipeEnd(os.open(path, how | os.O_NONBLOCK)) for how in (os.O_RDONLY, os.O_WRONLY)]


class Peer:
    """The other end of a link: a plain socket that does what the scenario says; over TLS with a
    SecretEnd on it, and then `eof` says close_notify. Of a pipe its other end, and then `eof`
    closes it."""

    def __init__(self, link):
        self.link = link
        self.world = link.world
        self.name = link.name + ".peer"
        self.listener = None
        self.sock = None
        self.names = (None, None)
        self.sent = self.received = self.unlogged = 0
        self.reading, self.wanted = True, None  # wanted: so many bytes more
        self.out = b""  # to be sent, sealed if it must be
        self.secret = None  # over TLS
        self.ended = self.closed = self.was_reset = False
        self.end = None  # what it saw at last
        self.accepted_at_close = 0

    def listen(self, family, address):
        self.listener = socket.socket(family)
        small_buffers(self.listener)
        self.listener.bind(address)
        self.listener.listen()

    def watch_listener(self):
        if self.listener is not None:
            self.world.loop.add_reader(self.listener, self.accept)

    def accept(self):
        if self.sock is None and self.listener is not None:
            self.world.loop.remove_reader(self.listener)
            self.began(self.listener.accept()[0])

    def connect(self, family, address):
        sock = socket.socket(family)
        small_buffers(sock)
        sock.connect(address)
        self.began(sock)

    def began(self, sock):
        self.sock = sock
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.names = (sock.getsockname(), sock.getpeername())
        if self.link.kind == "tls":
            self.begin_tls()
        self.watch()
        self.world.progress()

    def began_pipe(self, end):
        self.sock = end
        self.watch()

    def begin_tls(self):
        server_side = self.link.side == "client"
        self.secret = SecretEnd(self.world.secrets.context(server_side), server_side)
        self.out += self.secret.take()
        self.push()
        self.watch()

    def watch(self):
        if self.sock is None or self.closed:
            return
        self.world.loop.remove_reader(self.sock)
        if self.hears():
            self.world.loop.add_reader(self.sock, self.readable)

    def hears(self):
        live = self.sock is not None and not self.closed and self.end is None
        return live and (self.reading or self.shakes_hands())

    def shakes_hands(self):
        return self.secret is not None and not self.secret.is_open

    def is_deaf(self):
        """It will not see what the link says, its goodbye least of all."""
        live = self.sock is not None and not self.closed and self.end is None
        return live and not self.hears()

    def total(self):
        """The bytes to come."""
        return self.sent if self.secret else self.sent + len(self.out)

    def readable(self):
        if self.link.is_one_way() and self.link.side == "reader":
            if is_dead(self.sock.fileno()):  # the pipe tells that it is read no more
                self.over("end")
            return None
        most = 262144 if self.wanted is None else self.wanted
        try:
            data = self.sock.recv(most)
        except BlockingIOError:
            return
        except OSError as exc:
            # What was unread makes it a reset, and how much TLS reads ahead is free.
            return self.over("cut" if self.secret else word(exc))
        if not data:
            return self.over("cut" if self.secret else "end")
        if self.secret is None:
            self.came(data)
        else:
            self.came(self.secret.open(data))
            self.watch()  # it may be open now, and not to be read
            goodbye = self.secret.heard_goodbye
            if goodbye and not self.ended:  # as all do
                self.ended = True
                self.secret.say_goodbye()
            self.out += self.secret.take()
            self.push()
            if goodbye:
                return self.over("end")
        self.world.progress()

    def came(self, data):
        if not data:
            return
        if data != pattern(self.received, len(data)):
            self.world.trace.add(self.name, f"wrong bytes after {self.received}")
        self.received += len(data)
        self.unlogged += len(data)
        if self.wanted is not None:
            self.wanted -= len(data)
            if self.wanted == 0:
                self.reading, self.wanted = False, None
                self.watch()

    def over(self, how):
        self.end = how
        self.watch()
        self.log_bytes()
        self.world.trace.add(self.name, how)
        self.world.progress()

    def log_bytes(self):
        if self.unlogged or self.end is not None:
            free = self.end is not None and self.link.accepted > SMALL and self.link.was_cut()
            if free:
                self.world.trace.add(self.name, "some bytes")
            elif self.unlogged:
                self.world.trace.add(self.name, "bytes", self.unlogged)
            self.unlogged = 0

    def perform(self, verb, args):
        if verb == "refuse":
            self.listener.close()
            self.listener = None
            return None
        if verb in ("read", "take"):
            return getattr(self, "do_" + verb)(*args)
        if self.sock is None and self.listener is not None and self.link.made:
            select.select([self.listener], [], [], 10)
            self.accept()
        if self.sock is None or self.closed:
            return "no peer"
        return getattr(self, "do_" + verb)(*args)

    def do_send(self, size):
        if self.ended:
            return "ended"
        # What comes of it when the link is closing is the kernel's choice, unless it waits long.
        if self.link.is_closing() and not (self.link.kind != "tcp" and self.link.flushes()):
            return "too late"
        text = pattern(self.total(), size_of(size))
        if self.secret:
            self.secret.seal(text)
            self.sent += len(text)
            self.out += self.secret.take()
        else:
            self.out += text
        self.push()
        return None

    def push(self):
        try:
            count = self.sock.send(self.out)
        except BlockingIOError:
            count = 0
        except OSError:
            count, self.out = 0, b""
        if not self.secret:
            self.sent += count
        self.out = self.out[count:]
        if self.out:
            self.world.loop.add_writer(self.sock, self.push)
        else:
            self.world.loop.remove_writer(self.sock)
            if self.ended and not self.secret:
                self.shut()
        self.world.progress()

    def shut(self):
        if self.link.is_one_way():
            self.do_close()
            return
        sock = socket.socket(fileno=os.dup(self.sock.fileno()))
        with contextlib.suppress(OSError):  # reset meanwhile
            sock.shutdown(socket.SHUT_WR)
        sock.close()

    def do_eof(self):
        before, self.ended = self.ended, True
        if self.secret and not before:
            self.secret.say_goodbye()
            self.out += self.secret.take()
            self.push()
        elif not self.secret and not self.out:
            self.shut()

    def do_close(self):
        self.ended = self.closed = True
        self.unlogged = 0  # of what is on its way, how much had come by now is the kernel's choice
        self.accepted_at_close = self.link.accepted
        self.world.loop.remove_reader(self.sock)
        self.world.loop.remove_writer(self.sock)
        self.sock.close()

    def do_reset(self):
        self.was_reset = self.link.kind != "unix"
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.do_close()

    def do_read(self, switch):
        self.reading, self.wanted = switch == "on", None
        self.watch()

    def do_take(self, count):
        self.reading, self.wanted = int(count) > 0, int(count)
        self.watch()

    def waits_for(self):
        """What is on its way to us and must come; None: nothing."""
        if self.sock is None:
            return "the peer's accept" if self.link.made and self.listener is not None else None
        if not self.hears():
            return None
        if self.shakes_hands() and not self.link.is_closing():
            return f"{self.name}'s handshake"
        if self.wanted is not None and self.received < self.link.accepted:
            return f"{self.name} to take {self.wanted} bytes more"
        if self.received < self.link.accepted and not self.link.was_cut():
            return f"{self.name}: {self.received} of {self.link.accepted} bytes have come"
        if self.link.lost or self.link.shut:
            return f"{self.name} to see the end"
        return None

    def waits_to_arrive(self):
        """Whether something is still between the two kernels that nobody reads yet."""
        live = self.sock is not None and not self.closed and self.end is None
        if self.link.is_pipe() or not live or self.reading:
            return False
        unread = min(self.link.accepted - self.received, SMALL)
        return unread > 0 and not self.link.lost and not has_come(self.sock.fileno(), unread)


class Link:
    """A connection: the transport under test, its protocol, and the peer."""

    def __init__(self, world, declared):
        self.world, self.name = world, declared.name
        self.kind, self.side, self.server = declared.kind, declared.side, declared.server
        self.buffered = declared.buffered
        self.transport = self.kept = None  # kept: what create_connection() and its kin gave
        self.opening = None
        self.upgrading = False
        self.made = self.lost = self.eof = self.cut = self.shut = self.refused = False
        self.accepted = self.received = 0
        self.counts = {}
        self.protocols = 0
        self.answer = self.empty = False
        self.peer = Peer(self)
        self.pipe = None  # of a pipe, its end for the transport

    def is_pipe(self):
        return self.side in language.PIPE_SIDES

    def is_one_way(self):
        """Whether its other end cannot be shut, but only closed, and goes in one direction."""
        return self.is_pipe() and self.kind != "socketpair"

    def prepare(self, family, address):
        self.address = address
        if self.is_pipe():
            ends = new_pipe(self.kind, self.world.new_path())
            own, other = ends if self.side == "reader" else reversed(ends)
            self.pipe = open(own.fileno(), "rb" if self.side == "reader" else "wb", buffering=0)
            self.peer.began_pipe(other)
        if self.side == "client":
            self.peer.listen(family, address)
            self.address = self.peer.listener.getsockname()

    def new_protocol(self, buffered):
        self.protocols += 1
        return (Buffered if buffered else Plain)(self, self.protocols)

    def factory(self):
        self.refused = True  # unless it raises
        self.called("factory", "factory")
        self.refused = False
        return self.new_protocol(self.buffered)

    def is_closing(self):
        return self.lost or (self.transport is not None and self.transport.is_closing())

    def flushes(self):
        """Whether it is closing, and waits for a peer that does not read."""
        peer = self.peer
        stuck = not peer.closed and not peer.hears() and not self.cut
        if self.kind == "tls" and peer.is_deaf() and not peer.ended:
            return stuck and not self.lost
        return stuck and not self.lost and self.accepted - peer.received > SMALL

    def was_cut(self):
        """Whether not all that was written must reach the peer."""
        unread = self.kind == "tcp" and self.peer.sent > self.received and self.is_closing()
        return self.cut or unread

    # --- callbacks ---

    def called(self, callback, text, count=None, quiet=False):
        self.counts[callback] = number = self.counts.get(callback, 0) + 1
        reactions = [reaction for reaction in self.world.reactions(self.name, callback)
                     if reaction.number in (0, number)]
        if reactions:
            self.world.trace.last.pop(self.name, None)  # nothing is merged with what reacts
        if reactions or not quiet:
            self.world.trace.add(self.name, text, count)
        try:
            self.world.react(reactions, self.name)
        finally:
            self.world.progress()

    # --- what may be asked of the transport ---

    def open(self):
        if self.side != "server":
            self.peer.watch_listener()
            self.opening = self.world.loop.create_task(self.connect())
            return
        server = self.world.servers[self.server]
        server.expected.append(self)
        family = socket.AF_UNIX if self.kind == "unix" else socket.AF_INET
        try:
            self.peer.connect(family, server.address)
        except OSError as exc:
            server.expected.remove(self)
            self.world.trace.add(self.name, "open failed " + word(exc))
        self.opening = self.peer.sock

    async def connect(self):
        loop = self.world.loop
        try:
            if self.side == "reader":
                made = await loop.connect_read_pipe(self.factory, self.pipe)
            elif self.side == "writer":
                made = await loop.connect_write_pipe(self.factory, self.pipe)
            elif self.kind == "tls":
                context = self.world.secrets.context(False)
                made = await loop.create_connection(self.factory, *self.address, ssl=context,
                                                    server_hostname="localhost")
            elif self.kind == "tcp":
                made = await loop.create_connection(self.factory, *self.address)
            else:
                made = await loop.create_unix_connection(self.factory, self.address)
        except Exception as exc:
            self.opening = None
            self.world.trace.add(self.name, "open failed " + word(exc))
        else:
            self.kept = self.transport = made[0]
            self.world.trace.add(self.name, "opened")
        self.world.progress()

    def perform(self, verb, args):
        if verb == "open":
            return self.open()
        if self.transport is None:
            return "no transport"
        return getattr(self, "do_" + verb)(*args)

    def do_write(self, *sizes, lines=False):
        late = self.transport.is_closing()
        chunks, at = [], self.accepted
        for size in map(size_of, sizes):
            chunks.append(pattern(at, size))
            at += size
        # Counted before: pause_writing may ask from inside.
        before, self.accepted = self.accepted, self.accepted if late else at
        try:
            if lines:
                self.transport.writelines(chunks)
            else:
                self.transport.write(chunks[0])
        except Exception:
            self.accepted = before
            raise

    def do_writelines(self, *sizes):
        self.do_write(*sizes, lines=True)

    def do_write_eof(self):
        self.transport.write_eof()
        self.shut = True

    def do_can_write_eof(self):
        return yes(self.transport.can_write_eof())

    def do_close(self):
        self.transport.close()

    def do_abort(self):
        self.cut = self.cut or not self.lost
        self.transport.abort()

    def do_pause_reading(self):
        self.transport.pause_reading()

    def do_resume_reading(self):
        self.transport.resume_reading()

    def do_is_closing(self):
        return yes(self.transport.is_closing())

    def do_is_reading(self):
        return yes(self.transport.is_reading())

    def do_size(self):
        return "some" if self.transport.get_write_buffer_size() else "0"

    def do_limits(self, *marks):
        given = {}
        for mark in marks:
            name, value = mark.split("=")
            more = self.transport.get_write_buffer_size() if value[0] == "+" else 0
            given[name] = int(value) + more
        self.transport.set_write_buffer_limits(**given)

    def do_get_limits(self):
        return "{} {}".format(*self.transport.get_write_buffer_limits())

    def do_set_protocol(self, which):
        self.transport.set_protocol(self.new_protocol(which == "buffered"))

    def do_start_tls(self):
        self.kind = "tls"
        self.upgrading = True
        self.world.tasks.append(self.world.loop.create_task(self.upgrade()))
        self.world.loop.call_soon(self.peer.begin_tls)  # not before the transport is prepared

    async def upgrade(self):
        server_side = self.side == "server"
        try:
            self.transport = await self.world.loop.start_tls(
                self.transport, self.transport.get_protocol(),
                self.world.secrets.context(server_side), server_side=server_side,
                server_hostname=None if server_side else "localhost")
            self.kept = self.kept and self.transport
            self.world.trace.add(self.name, "upgraded")
        except Exception as exc:
            self.world.trace.add(self.name, "start_tls failed " + word(exc))
        self.upgrading = False
        self.world.progress()

    def do_has_pipe(self):
        pipe = self.transport.get_extra_info("pipe")
        return yes(pipe is not None and not pipe.closed)

    def do_names(self):
        own, other = (self.transport.get_extra_info(name) for name in ("sockname", "peername"))
        if self.peer.sock is None:
            return "no peer"
        matches = [same or "none" for same in (
            own and yes(own == self.peer.names[1]), other and yes(other == self.peer.names[0]))]
        return " ".join(matches)

    # --- what must still come ---

    def waits_for(self):
        if self.opening is not None and not self.made and not self.refused:
            server = self.world.servers.get(self.server)
            if server is None or server.listens():
                return f"{self.name} to be made"
        if self.side != "server" and self.opening is not None and not self.opening.done():
            return f"{self.name}'s open() to return"
        if self.upgrading:
            return f"{self.name} to be upgraded"
        if not self.made or self.lost:
            return None
        peer = self.peer
        if self.transport.is_closing():
            return None if self.flushes() else f"{self.name} to be lost"
        if self.side == "writer":
            return f"{self.name} to see that its reader has gone" if peer.closed else None
        if self.eof or not self.transport.is_reading():
            return None
        if self.received < peer.total() and not peer.was_reset:
            return f"{self.name}: {self.received} of {peer.sent} bytes have come"
        return f"{self.name} to see the end" if peer.ended else None

    def waits_to_arrive(self):
        peer = self.peer
        if self.is_pipe() or not self.made or self.lost or self.transport.is_closing():
            return False
        fd = self.transport.get_extra_info("socket").fileno()
        if peer.was_reset or (self.kind != "unix" and peer.closed
                              and self.accepted > peer.accepted_at_close):
            return not is_dead(fd)
        if self.kind == "tls":  # it may have read what it does not hand on yet
            return (not peer.closed and peer.sent > self.received and not self.eof
                    and not has_left(peer.sock))
        unread = min(peer.sent - self.received, SMALL)
        return unread > 0 and not self.eof and not has_come(fd, unread)


class Callbacks:
    def __init__(self, link, number):
        self.link = link
        self.prefix = "" if number == 1 else f"#{number} "

    def called(self, callback, argument="", count=None, quiet=False):
        self.link.called(callback, self.prefix + callback + argument, count, quiet)

    def connection_made(self, transport):
        self.link.made = True
        self.link.transport = transport
        if not self.link.is_pipe():
            small_buffers(transport.get_extra_info("socket"))
        self.called("connection_made")

    def eof_received(self):
        self.link.eof = True
        self.link.answer = False
        self.called("eof_received")
        return self.link.answer

    def pause_writing(self):
        self.called("pause_writing")

    def resume_writing(self):
        self.called("resume_writing")

    def connection_lost(self, exc):
        self.link.lost = True
        self.link.cut = self.link.cut or exc is not None
        try:
            self.called("connection_lost", " " + word(exc))
        finally:
            self.link.transport = self.link.kept

    def came(self, callback, data):
        link = self.link
        if data != pattern(link.received, len(data)):
            link.world.trace.add(link.name, f"wrong bytes after {link.received}")
        link.received += len(data)
        self.called(callback, "", len(data))


class Plain(Callbacks, asyncio.Protocol):
    def data_received(self, data):
        self.came("data_received", data)


class Buffered(Callbacks, asyncio.BufferedProtocol):
    def get_buffer(self, sizehint):
        self.link.empty = False
        self.memory = memoryview(bytearray(65536))  # TLS cuts it, and would cut a copy
        self.called("get_buffer", quiet=True)
        return bytearray() if self.link.empty else self.memory

    def buffer_updated(self, nbytes):
        self.came("buffer_updated", bytes(self.memory[:nbytes]))


class Far:
    """A plain datagram socket that an endpoint talks with."""

    def __init__(self, endpoint, side):
        self.endpoint, self.world = endpoint, endpoint.world
        self.name = f"{endpoint.name}.{side}"
        self.sock = None
        self.sent = 0  # of what the endpoint shall receive
        self.awaited = 0  # what the endpoint has sent to it
        self.received = 0
        self.reading = True

    def bind(self):
        unix = self.endpoint.kind == "unix"
        self.sock = socket.socket(socket.AF_UNIX if unix else socket.AF_INET, socket.SOCK_DGRAM)
        small_buffers(self.sock)
        self.sock.bind(self.world.new_path() if unix else ("127.0.0.1", 0))
        self.sock.setblocking(False)
        self.address = self.sock.getsockname()
        self.watch()

    def hears(self):
        return self.reading and self.sock is not None

    def watch(self):
        if self.sock is not None:
            self.world.loop.remove_reader(self.sock)
            if self.reading:
                self.world.loop.add_reader(self.sock, self.readable)

    def readable(self):
        with contextlib.suppress(OSError):
            while True:
                data, sender = self.sock.recvfrom(65536)
                if data != pattern(len(data), len(data)):
                    self.world.trace.add(self.name, "wrong bytes")
                self.received += 1
                name = self.endpoint.name if sender == self.endpoint.own else "a stranger"
                self.world.trace.add(self.name, f"datagram {len(data)} from {name} x", 1)
        self.world.progress()

    def perform(self, verb, args):
        if self.sock is None:
            return "closed"
        if verb == "close":
            self.world.loop.remove_reader(self.sock)
            self.sock.close()
            self.sock = None
        elif verb == "read":
            self.reading = args[0] == "on"
            self.watch()
        else:
            return self.send(size_of(args[0]))
        return None

    def send(self, size):
        if not self.endpoint.made:
            return "no endpoint"
        if self.endpoint.is_closing():
            return "too late"
        try:
            self.sock.sendto(pattern(size, size), self.endpoint.own)
        except OSError as exc:
            return word(exc)
        # A connected socket gets those of its peer only.
        self.sent += not self.endpoint.connected or self is self.endpoint.peer
        return None

    def waits_for(self):
        if self.endpoint.kind == "unix" and not self.endpoint.peer.hears():
            return None  # what stands behind the peer's waits too
        if self.hears() and self.received < self.awaited and not self.endpoint.cut:
            return f"{self.name}: {self.received} of {self.awaited} datagrams have come"
        return None


class Endpoint:
    """A datagram endpoint: the transport under test, its protocol, and two to talk with."""

    def __init__(self, world, declared):
        self.world, self.name, self.kind = world, declared.name, declared.kind
        self.connected = declared.connected
        self.transport = self.kept = None
        self.made = self.lost = self.cut = self.opening = False
        self.received = self.protocols = 0
        self.own = None
        self.counts = {}
        self.peer, self.other = Far(self, "peer"), Far(self, "other")

    def new_protocol(self):
        self.protocols += 1
        return Datagrams(self, self.protocols)

    def factory(self):
        self.called("factory", "factory")
        return self.new_protocol()

    def called(self, callback, text, count=None):
        self.counts[callback] = number = self.counts.get(callback, 0) + 1
        reactions = [reaction for reaction in self.world.reactions(self.name, callback)
                     if reaction.number in (0, number)]
        if reactions:
            self.world.trace.last.pop(self.name, None)
        self.world.trace.add(self.name, text, count)
        try:
            self.world.react(reactions, self.name)
        finally:
            self.world.progress()

    def is_closing(self):
        return self.lost or (self.transport is not None and self.transport.is_closing())

    def who(self, address):
        names = {self.peer.address: "peer", self.other.address: "other", None: "nobody"}
        return names.get(address, "a stranger")

    async def open(self):
        options = {}
        if self.connected:
            options["remote_addr"] = self.peer.address
        if self.kind == "unix":
            options.update(local_addr=self.world.new_path(), family=socket.AF_UNIX)
        elif not self.connected:
            options["local_addr"] = ("127.0.0.1", 0)
        try:
            made = await self.world.loop.create_datagram_endpoint(self.factory, **options)
        except Exception as exc:
            self.world.trace.add(self.name, "open failed " + word(exc))
        else:
            self.kept = self.transport = made[0]
            self.world.trace.add(self.name, "opened")
        self.opening = False
        self.world.progress()

    def perform(self, verb, args):
        if verb == "open":
            self.opening = True
            self.world.tasks.append(self.world.loop.create_task(self.open()))
            return None
        if self.transport is None:
            return "no transport"
        if verb in ("send", "sendto"):
            return self.send(size_of(args[-1]), "" if verb == "send" else args[0])
        if verb == "flood":
            for _ in range(100):
                self.send(1000, "peer")
        elif verb == "abort":
            self.cut = self.cut or not self.lost
            self.transport.abort()
        elif verb == "limits":
            self.limits(args)
        elif verb == "set_protocol":
            self.transport.set_protocol(self.new_protocol())
        else:
            return self.ask(verb)
        return None

    def ask(self, verb):
        if verb == "is_closing":
            return yes(self.transport.is_closing())
        if verb == "size":
            return str(self.transport.get_write_buffer_size())
        if verb == "get_limits":
            return "{} {}".format(*self.transport.get_write_buffer_limits())
        if verb == "names":
            own, other = (self.transport.get_extra_info(key) for key in ("sockname", "peername"))
            return yes(own == self.own) + " " + self.who(other or None)
        return self.transport.close()

    def send(self, size, to):
        late = self.transport.is_closing()
        far = self.other if to == "other" else self.peer
        there = {"": None, "v6": ("::1", 9)}.get(to, far.address)
        # Counted before: pause_writing may ask from inside.
        empty_too = "C-17" in amended.rows or sys.version_info >= (3, 13)
        counts = not late and size < BIG and to != "v6" and (size > 0 or empty_too)
        far.awaited += counts
        try:
            self.transport.sendto(pattern(size, size), there)
        except Exception:
            far.awaited -= counts
            raise

    def limits(self, marks):
        given = {}
        for mark in marks:
            key, value = mark.split("=")
            given[key] = int(value)
        self.transport.set_write_buffer_limits(**given)

    def state(self):
        return ("lost" if self.lost else "never made" if not self.made else
                "closing" if self.transport.is_closing() else "open")

    def waits_for(self):
        if self.opening:
            return f"{self.name} to be opened"
        if not self.made:
            return None
        if self.is_closing() and not self.lost and (self.cut or self.peer.hears()):
            return f"{self.name} to be lost"
        expected = self.peer.sent + self.other.sent
        if not self.is_closing() and self.received < expected:
            return f"{self.name}: {self.received} of {expected} datagrams have come"
        return self.peer.waits_for() or self.other.waits_for()


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self, endpoint, number):
        self.endpoint = endpoint
        self.prefix = "" if number == 1 else f"#{number} "

    def called(self, callback, argument="", count=None):
        self.endpoint.called(callback, self.prefix + callback + argument, count)

    def connection_made(self, transport):
        self.endpoint.made = True
        self.endpoint.transport = transport
        self.endpoint.own = transport.get_extra_info("sockname")
        small_buffers(transport.get_extra_info("socket"))
        self.called("connection_made")

    def datagram_received(self, data, addr):
        self.endpoint.received += 1
        if data != pattern(len(data), len(data)):
            self.endpoint.world.trace.add(self.endpoint.name, "wrong bytes")
        self.called("datagram_received", f" {len(data)} from {self.endpoint.who(addr)} x", 1)

    def error_received(self, exc):
        self.called("error_received", " " + word(exc))

    def pause_writing(self):
        self.called("pause_writing")

    def resume_writing(self):
        self.called("resume_writing")

    def connection_lost(self, exc):
        self.endpoint.lost = True
        try:
            self.called("connection_lost", " " + word(exc))
        finally:
            self.endpoint.transport = self.endpoint.kept


class Server:
    def __init__(self, world, name, kind, idle):
        self.world, self.name, self.kind, self.idle = world, name, kind, idle
        self.server = None
        self.address = None
        self.expected = []  # links, in the order in which their peers connect
        self.begun = 0  # calls that must return
        self.path = ""

    def factory(self):
        return self.expected.pop(0).factory()

    def listens(self):
        return self.server is not None and self.server.is_serving()

    async def start(self):
        loop = self.world.loop
        serving = not self.idle
        if self.kind != "unix":
            context = self.world.secrets.context(True) if self.kind == "tls" else None
            made = await loop.create_server(self.factory, "127.0.0.1", 0, start_serving=serving,
                                            ssl=context)
        else:
            self.path = self.world.new_path()
            made = await loop.create_unix_server(self.factory, self.path, start_serving=serving)
        self.server = made
        for sock in made.sockets:
            small_buffers(sock)
        self.address = made.sockets[0].getsockname()

    async def wait(self, what, awaitable, must):
        self.begun += must
        try:
            await awaitable
        except Exception as exc:
            self.world.trace.add(self.name, f"{what} failed {word(exc)}")
        else:
            self.world.trace.add(self.name, what + " returned")
        self.begun -= must
        self.world.progress()

    def soon(self, what, awaitable, must=True):
        self.world.tasks.append(self.world.loop.create_task(self.wait(what, awaitable, must)))

    def perform(self, verb, args):
        if verb == "start":
            return self.soon("start", self.start())
        if self.server is None:
            return "no server"
        if verb == "wait_closed":
            return self.soon(verb, self.server.wait_closed(), must=False)
        if verb == "start_serving":
            return self.soon(verb, self.server.start_serving())
        if verb == "is_serving":
            return yes(self.server.is_serving())
        if verb == "sockets":
            return str(len(self.server.sockets))
        return getattr(self.server, verb)()


class World:
    paths = 0  # so far, of all worlds

    def __init__(self, script, folder, secrets, patience):
        self.script, self.folder, self.patience = script, folder, patience
        self.secrets = secrets
        self.loop = asyncio.new_event_loop()
        self.trace = Trace()
        self.waiter = None
        self.handles, self.due, self.tasks = {}, {}, []
        self.loop.set_exception_handler(self.handler)
        self.futures = {name: self.loop.create_future() for name in script.futures}
        self.servers = {server.name: Server(self, server.name, server.kind, server.idle)
                        for server in script.servers.values()}
        self.links = {}
        for declared in script.links.values():
            self.links[declared.name] = link = Link(self, declared)
            if not link.server and link.side == "server":
                link.server = link.name + ".server"
                self.servers[link.server] = Server(self, link.server, link.kind, False)
            tcp = link.kind != "unix"
            link.prepare(socket.AF_INET if tcp else socket.AF_UNIX,
                         ("127.0.0.1", 0) if tcp else self.new_path())

        self.endpoints = {}
        for declared in script.endpoints.values():
            self.endpoints[declared.name] = endpoint = Endpoint(self, declared)
            endpoint.peer.bind()
            endpoint.other.bind()

    def new_path(self):
        World.paths += 1
        return os.path.join(self.folder, str(World.paths))

    def handler(self, _loop, context):
        exc = context.get("exception")
        self.trace.add(getattr(exc, "link", "loop"), "handler " + word(exc))

    # --- actions ---

    def reactions(self, who, callback):
        return [reaction for reaction in self.script.reactions.get(who, ())
                if reaction.callback == callback]

    def react(self, reactions, owner):
        self.trace.depth += 1
        try:
            for reaction in reactions:
                for action in reaction.actions:
                    self.trace.add(owner, action.text)
                    if action.kind == "self":
                        self.perform_self(action, reaction.callback, owner)
                    else:
                        self.perform(action, owner)
        finally:
            self.trace.depth -= 1

    def perform(self, action, owner):
        self.trace.depth += 1
        try:
            if action.kind == "loop":
                result = self.perform_loop(action.verb, action.args, owner)
            elif action.kind == "future":
                future = self.futures[action.target]
                result = self.perform_future(future, action.verb, action.args, owner)
            else:
                result = self.target(action).perform(action.verb, action.args)
        except (Exception, asyncio.CancelledError) as exc:
            result = word(exc)
        if result is not None:
            self.trace.add(owner, "= " + result)
        self.trace.depth -= 1

    def target(self, action):
        if action.kind == "server":
            return self.servers[action.target]
        if action.kind == "endpoint":
            return self.endpoints[action.target]
        if action.kind == "far":
            name, _, side = action.target.rpartition(".")
            return getattr(self.endpoints[name], side)
        link = self.links[action.target.removesuffix(".peer")]
        return link.peer if action.kind == "peer" else link

    def perform_self(self, action, callback, owner):
        if action.verb == "raise":
            if callback in FATAL:
                self.links[owner].cut = True
            exc = UserError("of the scenario")
            if action.args[0] == "os":
                exc = UserOsError(errno.ENOBUFS, "of the scenario")
            exc.link = owner
            raise exc
        link = self.links[owner]
        if action.verb == "answer":
            link.answer = action.args[0] == "yes"
        else:
            link.empty = True

    def perform_loop(self, verb, args, owner):
        name = args[-1] if args else ""
        if verb == "stop":
            self.loop.stop()
        elif verb == "cancel":
            if name not in self.handles:
                return "none"
            self.due.pop(name, None)
            self.handles[name].cancel()
        elif verb == "cancelled":
            return yes(name in self.handles and self.handles[name].cancelled())
        else:
            self.due[name] = self.due.get(name, 0) + 1
            delay = [int(args[0]) / 1000] if verb == "call_later" else []
            self.handles[name] = getattr(self.loop, verb)(*delay, self.call, name, owner)
        return None

    def call(self, name, owner):
        if self.due.get(name):
            self.due[name] -= 1
        self.trace.add(owner, "call " + name)
        try:
            self.react(self.reactions(name, "call"), owner)
        finally:
            self.progress()

    def perform_future(self, future, verb, args, owner):
        if verb == "set_result":
            future.set_result(7)
        elif verb == "set_error":
            future.set_exception(UserError())
        elif verb == "cancel":
            return yes(future.cancel())
        elif verb == "done":
            return yes(future.done())
        elif verb == "result":
            return str(future.result())
        elif verb == "then":
            future.add_done_callback(lambda _: self.call(args[0], owner))
        else:
            self.handles[args[0]] = self.loop.create_task(self.wait(future, args[0], owner))
            self.tasks.append(self.handles[args[0]])
        return None

    async def wait(self, future, name, owner):
        try:
            text = str(await future)
        except (Exception, asyncio.CancelledError) as exc:
            text = word(exc)
        self.trace.add(owner, f"{name}: {text}")
        self.progress()

    # --- barriers ---

    def progress(self):
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    def waits_for(self):
        for server in self.servers.values():
            if server.begun:
                return f"{server.name}'s call to return"
        for name, count in self.due.items():
            if count:
                return f"call {name}"
        for link in self.links.values():
            reason = link.waits_for() or link.peer.waits_for()
            if reason:
                return reason
        for endpoint in self.endpoints.values():
            reason = endpoint.waits_for()
            if reason:
                return reason
        return None

    def waits_to_arrive(self):
        return any(link.waits_to_arrive() or link.peer.waits_to_arrive()
                   for link in self.links.values())

    async def settle(self):
        """Until nothing is on its way any more; False: it did not come in time."""
        end = self.loop.time() + self.patience
        alarm = self.loop.call_at(end, self.progress)
        quiet = 0
        seen = -1
        while quiet < IDLE_TURNS:
            reason = self.waits_for()
            if self.loop.time() >= end:
                self.trace.depth = 0
                self.trace.add("loop", "in vain: " + (reason or "bytes to arrive"))
                return False
            if reason is not None:
                self.waiter = self.loop.create_future()
                await self.waiter
            else:
                await asyncio.sleep(0)
            calm = reason is None and seen == len(self.trace.lines) and not self.waits_to_arrive()
            quiet = quiet + 1 if calm else 0
            seen = len(self.trace.lines)
        alarm.cancel()
        for link in self.links.values():
            link.peer.log_bytes()
        return True

    async def play(self):
        for server in self.servers.values():
            if server.name not in self.script.servers:
                await server.start()
        for step in self.script.steps:
            if not step.joined and not await self.settle():
                return
            actor = "loop" if step.kind == "future" else step.target
            self.trace.add(actor, "* " + step.text)
            if step.verb == "turns":
                for _ in range(int(step.args[0])):
                    await asyncio.sleep(0)
            else:
                self.perform(step, actor)
        if await self.settle():
            for link in self.links.values():
                state = "lost" if link.lost else "never made" if not link.made else \
                    "closing" if link.transport.is_closing() else "open"
                self.trace.add(link.name, "at the end: " + state)
            for endpoint in self.endpoints.values():
                self.trace.add(endpoint.name, "at the end: " + endpoint.state())

    def run(self):
        amended.rows = set(self.script.amend)
        asyncio.set_event_loop(self.loop)
        task = self.loop.create_task(self.play())
        task.add_done_callback(lambda _: self.loop.stop())
        while True:
            self.loop.run_forever()
            if task.done():
                break
            self.trace.add("loop", "stopped")
        self.trace.print(self.script.name)
        task.result()
        self.clean_up()

    def clean_up(self):
        self.trace.on = False
        self.script.reactions.clear()
        for link in self.links.values():
            if link.transport is not None:
                with contextlib.suppress(AttributeError):  # lost after a flush: it fails on None
                    getattr(link.transport, "abort", link.transport.close)()
        for endpoint in self.endpoints.values():
            if endpoint.transport is not None:
                endpoint.transport.abort()
        for task in self.tasks:
            task.cancel()
        for server in self.servers.values():
            if server.server is not None:
                server.server.close()
        self.loop.call_soon(self.loop.call_soon, self.loop.call_soon, self.loop.stop)
        self.loop.run_forever()
        for link in self.links.values():
            for sock in (link.peer.listener, link.peer.sock):
                if sock is not None:
                    sock.close()
        for endpoint in self.endpoints.values():
            for far in (endpoint.peer, endpoint.other):
                if far.sock is not None:
                    far.sock.close()
        self.loop.close()


def main(arguments):
    patience = 10.0
    if arguments[:1] == ["--patience"]:
        patience = float(arguments[1])
        arguments = arguments[2:]
    amended.install()
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # eof_received() that answers yes to TLS
    gc.disable()  # sockets that asyncio forgets are to stay open, not until it happens to run
    with tempfile.TemporaryDirectory(prefix="ferry-") as folder:
        played = 0
        secrets = Secrets(folder)
        for file in arguments:
            with open(file, encoding="utf-8") as opened:
                scripts = language.read(file, opened.read())
            for script in scripts:
                if script.needs > sys.version_info[:2]:
                    print(f"== {script.name}\n-- skipped")
                else:
                    World(script, folder, secrets, patience).run()
                    played += 1
                if played % 100 == 0:
                    gc.collect()
                sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
