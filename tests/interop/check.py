#!/usr/bin/env python3
"""ferry's TLS and other people's: each talks with the other.

usage: check.py PEER FOLDER EXAMPLES [SUFFIX [EMULATOR]]

PEER is s_client, s_server (OpenSSL's programs), ssl, asyncio, https (CPython's), curl or gnutls.
FOLDER has tls_tool, EXAMPLES has https_server; their names end in SUFFIX, and EMULATOR runs them
where this system cannot. Every check is one function of CHECKS; a peer that is not
installed is a skip.
"""
from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import re
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

SECONDS = 60  # until something that does not come has failed
PATTERN = bytes(i * 31 % 251 for i in range(1 << 20))


class Failure(Exception):
    pass


def expect(what, got, wanted):
    if got != wanted:
        raise Failure(f"{what}:\n  got    {got!r}\n  wanted {wanted!r}")


def expect_match(what, text, pattern):
    found = re.search(pattern, text)
    if not found:
        raise Failure(f"{what}: no {pattern!r} in\n{text}")
    return found


class Program:
    """A program with its output collected, which may be waited for."""

    def __init__(self, *command, stdin=subprocess.PIPE):
        self.command = list(map(str, command))
        self.process = subprocess.Popen(self.command, stdin=stdin, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT)
        self.text, self.changed = "", threading.Condition()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        while data := os.read(self.process.stdout.fileno(), 65536):
            with self.changed:
                # An emulator's console has lines' ends of its own.
                self.text += data.decode(errors="replace").replace("\r", "")
                self.changed.notify_all()
        with self.changed:
            self.changed.notify_all()

    def wait_for(self, pattern, count=1):
        """The last of so many matches."""
        deadline = time.monotonic() + SECONDS
        with self.changed:
            while len(found := list(re.finditer(pattern, self.text))) < count:
                if time.monotonic() > deadline or not self.reader.is_alive():
                    raise Failure(f"{self.command[0]}: no {pattern!r} in\n{self.text}")
                self.changed.wait(1)
        return found[count - 1]

    def send(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def end(self, status=0):
        """Waits for it; all that it printed."""
        if self.process.stdin:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
        try:
            got = self.process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            raise Failure(f"{self.command} does not end:\n{self.text}") from None
        self.reader.join(SECONDS)
        if status is not None and got != status:
            raise Failure(f"{self.command} ended with {got}:\n{self.text}")
        return self.text

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.reader.join(SECONDS)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


class Tools:
    def __init__(self, folder, examples, suffix="", emulator=""):
        self.folder, self.examples, self.suffix = folder, examples, suffix
        self.prefix = [emulator] if emulator else []
        self.kept = tempfile.TemporaryDirectory()
        self.path = self.kept.name
        subprocess.run([*self.tool(), "certificates", self.path], check=True, timeout=SECONDS,
                       stdin=subprocess.DEVNULL)

    def tool(self):
        return [*self.prefix, f"{self.folder}/tls_tool{self.suffix}"]

    def cert(self, name):
        return f"{self.path}/{name}.pem"

    def pair(self, name):
        return [self.cert(name), f"{self.path}/{name}.key"]

    @contextlib.contextmanager
    def server(self, *flags, connections=1, key="ecdsa"):
        """ferry's echoing server. It must end by itself: after so many connections."""
        with Program(*self.tool(), "server", connections, *self.pair(key), *flags) as server:
            server.port = int(server.wait_for(r"port (\d+)\n").group(1))
            yield server
            server.end()

    def client(self, port, text, *flags, status=0):
        """What ferry's client printed."""
        with Program(*self.tool(), "client", port, self.cert("root"), text, *flags) as client:
            return client.end(status)

    @contextlib.contextmanager
    def https(self):
        command = [*self.prefix, f"{self.examples}/https_server{self.suffix}"]
        with Program(*command, *self.pair("ecdsa"), 0) as server:
            server.port = int(server.wait_for(r"Serving on https://localhost:(\d+)/\n").group(1))
            yield server
            if not self.prefix:
                server.process.send_signal(signal.SIGINT)
                server.end()


def made(text, count=1):
    """What ferry said of its connections: a dict each."""
    lines = re.findall(r"^made (\S+) (\S+) alpn=(\S*) name=(\S*) reused=(\w+) peer=(.*)$", text,
                       re.M)
    if len(lines) != count:
        raise Failure(f"not {count} connections:\n{text}")
    names = ("version", "cipher", "alpn", "name", "reused", "peer")
    all_of = [dict(zip(names, line)) for line in lines]
    return all_of[0] if count == 1 else all_of


def ended_clean(text, count=1):
    clean = re.findall(r"^lost clean$", text, re.M)
    expect("connections that ended clean, of\n" + text, len(clean), count)


# --- OpenSSL's s_client -------------------------------------------------------------------------

VERSIONS = {"1.2": "TLSv1.2", "1.3": "TLSv1.3"}


def flag_of(version):
    return "-tls1_" + version[2:]


def s_client(tools, server, *flags):
    return Program("openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-CAfile",
                   tools.cert("root"), "-verify_return_error", *flags)


def talk(client, *steps):
    """Each step is a line to send, which comes back, or a command. Each is waited for: OpenSSL's
    programs take what they read from a terminal at once for one line."""
    said = {"k": "KEYUPDATE", "K": "KEYUPDATE", "R": "RENEGOTIATING"}
    for at, step in enumerate(steps):
        client.send(step + "\n")
        if step in said:
            client.wait_for(said[step], sum(said.get(one) == said[step] for one in steps[:at + 1]))
        elif step != "Q":
            client.wait_for(re.escape(step))


def s_client_versions(tools):
    for version, name in VERSIONS.items():
        for key, algorithm in (("ecdsa", "ECDSA"), ("rsa", "RSA-PSS")):
            with tools.server("--alpn", "h2,http/1.1", key=key) as server:
                with s_client(tools, server, flag_of(version), "-servername", "localhost",
                              "-verify_hostname", "localhost", "-alpn", "http/1.1,h2") as client:
                    talk(client, "hello", "Q")
                    text = client.end()
            expect_match("s_client", text, "Verify return code: 0")
            expect_match("s_client", text, "ALPN protocol: h2")
            expect_match("s_client", text, f"Peer signature type: {algorithm}")
            it = made(server.text)
            expect("version, ALPN, name", (it["version"], it["alpn"], it["name"]),
                   (name, "h2", "localhost"))
            ended_clean(server.text)
            expect_match("the server", server.text, "^eof$|\neof\n")


def s_client_key_update(tools):
    with tools.server() as server, s_client(tools, server, "-tls1_3") as client:
        talk(client, "before", "k", "one side", "K", "both sides", "K", "again", "Q")
        client.end()
    ended_clean(server.text)


def s_client_renegotiation(tools):
    with tools.server(connections=2) as server:
        with s_client(tools, server, "-tls1_2") as client:
            talk(client, "before", "R")
            expect_match("s_client", client.end(None), "no renegotiation")
        server.wait_for(r"lost .*\n")
        with s_client(tools, server, "-tls1_2") as client:  # the server goes on
            talk(client, "next", "Q")
            client.end()
    with tools.server("--renegotiation") as server:
        with s_client(tools, server, "-tls1_2") as client:
            talk(client, "before", "R", "after", "Q")
            client.end()
    ended_clean(server.text)


def s_client_resumption(tools):
    for version in VERSIONS:
        session = f"{tools.path}/session"
        with tools.server(connections=2) as server:
            with s_client(tools, server, flag_of(version), "-sess_out", session) as client:
                talk(client, "first", "Q")
                expect_match("s_client", client.end(), "New, TLS")
            with s_client(tools, server, flag_of(version), "-sess_in", session) as client:
                talk(client, "second", "Q")
                expect_match("s_client", client.end(), "Reused, TLS")
        expect("reused", [it["reused"] for it in made(server.text, 2)], ["false", "true"])
        ended_clean(server.text, 2)


def s_client_mutual(tools):
    for version in VERSIONS:
        with tools.server("--ca", tools.cert("root"), connections=3) as server:
            cert, key = tools.pair("client")
            with s_client(tools, server, flag_of(version), "-cert", cert, "-key", key) as client:
                talk(client, "hello", "Q")
                client.end()
            cert, key = tools.pair("stranger")
            with s_client(tools, server, flag_of(version), "-cert", cert, "-key", key) as client:
                server.wait_for(r"refused .*self-signed certificate.*CN=a client\n")
                expect_match("s_client", client.end(None), "alert unknown ca")
            with s_client(tools, server, flag_of(version)) as client:
                server.wait_for(r"refused .*did not return a certificate\n")
                expect_match("s_client", client.end(None), "alert")
        expect("the peer", made(server.text)["peer"], "CN=a client")


def s_client_server_name(tools):
    with tools.server("--sni", "other.example", *tools.pair("other"), connections=2) as server:
        for name in ("other.example", "localhost"):
            with s_client(tools, server, "-servername", name, "-verify_hostname", name) as client:
                talk(client, "hello", "Q")
                expect_match("s_client", client.end(), "Verify return code: 0")
    expect("names", [it["name"] for it in made(server.text, 2)], ["other.example", "localhost"])


# --- OpenSSL's s_server -------------------------------------------------------------------------

@contextlib.contextmanager
def s_server(tools, *flags, key="ecdsa"):
    cert, private = tools.pair(key)
    command = ["openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", cert, "-cert_chain", cert,
               "-key", private, *flags]
    with Program(*command) as server:
        server.port = int(server.wait_for(r"ACCEPT 127\.0\.0\.1:(\d+)").group(1))
        yield server


def s_server_versions(tools):
    for version, name in VERSIONS.items():
        for key in ("ecdsa", "rsa"):
            with s_server(tools, flag_of(version), "-rev", "-alpn", "h2", key=key) as server:
                text = tools.client(server.port, "hello\n", "--alpn", "h2,http/1.1", "--wait",
                                    "olleh")
            it = made(text)
            expect("version, ALPN", (it["version"], it["alpn"]), (name, "h2"))
            expect("the peer", it["peer"], "CN=localhost")
            ended_clean(text)


def s_server_mutual(tools):
    for version in VERSIONS:
        with s_server(tools, flag_of(version), "-rev", "-Verify", "2", "-verify_return_error",
                      "-CAfile", tools.cert("root")) as server:
            text = tools.client(server.port, "hello\n", "--wait", "olleh", "--cert",
                                *tools.pair("client"))
            ended_clean(text)
            text = tools.client(server.port, "hello\n", "--wait", "olleh", status=None)
            expect_match("without a certificate", text, "gave up with the alert")


def s_server_resumption(tools):
    for version in VERSIONS:
        with s_server(tools, flag_of(version), "-rev") as server:
            text = tools.client(server.port, "hello\n", "--wait", "olleh", "--resume")
        expect("reused", [it["reused"] for it in made(text, 2)], ["false", "true"])
        ended_clean(text, 2)


def command_s_server(tools, version, command, *flags, said=""):
    with s_server(tools, flag_of(version)) as server:
        with Program(*tools.tool(), "client", server.port, tools.cert("root"), "hello\n",
                     "--wait", "goodbye", *flags) as client:
            server.wait_for("hello")
            server.send("before\n")
            client.wait_for("got before")
            server.send(f"{command}\n")
            server.wait_for(said)
            # It may have come together with the command, which swallows it then.
            deadline = time.monotonic() + SECONDS
            while client.process.poll() is None and time.monotonic() < deadline:
                with contextlib.suppress(BrokenPipeError):
                    server.send("goodbye\n")
                client.reader.join(0.1)
            ended_clean(client.end())


def s_server_key_update(tools):
    command_s_server(tools, "1.3", "k")
    command_s_server(tools, "1.3", "K")


def s_server_renegotiation(tools):
    command_s_server(tools, "1.2", "r", "--renegotiation",
                     said="SSL_do_handshake -> 1\nRead BLOCK")  # it has the client's answer


def s_server_names(tools):
    with s_server(tools, "-rev", key="other") as server:
        text = tools.client(server.port, "hello\n", "--wait", "olleh", "--name", "other.example")
        ended_clean(text)
        text = tools.client(server.port, "hello\n", "--wait", "olleh", status=1)
        expect_match("another host's", text, "failed .*not for localhost, but for other.example")


def s_server_strangers(tools):
    with s_server(tools, "-rev", key="stranger") as server:
        text = tools.client(server.port, "hello\n", "--wait", "olleh", status=1)
        expect_match("a stranger's", text, "failed .*self-signed certificate: CN=a client")


# --- CPython ------------------------------------------------------------------------------------

def context_of(tools, purpose, version, *, client=False):
    context = ssl.create_default_context(purpose, cafile=tools.cert("root"))
    wanted = getattr(ssl.TLSVersion, VERSIONS[version].replace(".", "_"))
    context.minimum_version = context.maximum_version = wanted
    if client:
        context.load_cert_chain(*tools.pair("client"))
    elif purpose is ssl.Purpose.CLIENT_AUTH:
        context.load_cert_chain(*tools.pair("ecdsa"))
    return context


def receive(stream, size):
    data = bytearray()
    while len(data) < size and (part := stream.recv(65536)):
        data += part
    return bytes(data)


def echoed(stream, data):
    """What comes back while it is sent. In one thread: a connection of OpenSSL is not for two."""
    stream.setblocking(False)
    sent, got = 0, bytearray()
    while len(got) < len(data):
        read, write = [stream], [stream] if sent < len(data) else []
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if write:
                sent += stream.send(data[sent:sent + 65536])
                continue
        with contextlib.suppress(ssl.SSLWantReadError):
            if not (part := stream.recv(65536)):
                break
            got += part
            continue
        if not any(select.select(read, write, [], SECONDS)):
            raise Failure(f"{len(got)} of {len(data)} bytes came back")
    stream.settimeout(SECONDS)
    return bytes(got)


def ssl_client(tools):
    for version in VERSIONS:
        context = context_of(tools, ssl.Purpose.SERVER_AUTH, version, client=True)
        context.set_alpn_protocols(["http/1.1", "h2"])
        session = None
        with tools.server("--alpn", "h2", "--ca", tools.cert("root"), connections=2) as server:
            for resumed in (False, True):
                plain = socket.create_connection(("127.0.0.1", server.port), SECONDS)
                with context.wrap_socket(plain, server_hostname="localhost", session=session,
                                         suppress_ragged_eofs=False) as stream:
                    expect("resumed", stream.session_reused, resumed)
                    expect("ALPN", stream.selected_alpn_protocol(), "h2")
                    expect("the echo is right", echoed(stream, PATTERN) == PATTERN, True)
                    session = stream.session
                    stream.unwrap().close()  # close_notify both ways, or it raises
        expect("peers", [it["peer"] for it in made(server.text, 2)], ["CN=a client"] * 2)
        ended_clean(server.text, 2)


def ssl_truncated(tools):
    for version in VERSIONS:
        context = context_of(tools, ssl.Purpose.SERVER_AUTH, version)
        with tools.server() as server:
            plain = socket.create_connection(("127.0.0.1", server.port), SECONDS)
            with context.wrap_socket(plain, server_hostname="localhost") as stream:
                stream.sendall(b"hello")
                expect("the echo", receive(stream, 5), b"hello")
            # closed without a close_notify
        expect_match("the server", server.text, r"lost TLS: .*truncated|lost .*close_notify")


def ssl_server(tools):
    for version in VERSIONS:
        context = context_of(tools, ssl.Purpose.CLIENT_AUTH, version)
        context.verify_mode = ssl.CERT_REQUIRED
        names = []
        context.sni_callback = lambda _stream, name, _context: names.append(name)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            def serve():
                for _ in range(2):
                    plain, _ = listener.accept()
                    with context.wrap_socket(plain, server_side=True,
                                             suppress_ragged_eofs=False) as stream:
                        while data := stream.recv(65536):  # raises where it is truncated
                            stream.sendall(data)
                        stream.unwrap()
            thread = threading.Thread(target=serve)
            thread.start()
            text = tools.client(listener.getsockname()[1], "hello " * 4000, "--resume", "--cert",
                                *tools.pair("client"))
            thread.join(SECONDS)
        expect("reused", [it["reused"] for it in made(text, 2)], ["false", "true"])
        expect("what came back", len(re.findall("received 24000, the same", text)), 2)
        expect("names", names, ["localhost", "localhost"])
        ended_clean(text, 2)


async def asyncio_echo(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


def asyncio_server(tools):
    async def run():
        for version in VERSIONS:
            context = context_of(tools, ssl.Purpose.CLIENT_AUTH, version)
            server = await asyncio.start_server(asyncio_echo, "127.0.0.1", 0, ssl=context)
            port = server.sockets[0].getsockname()[1]
            # More than a record, less than a command line of Windows.
            text = await asyncio.to_thread(tools.client, port, "hello " * 4000)
            server.close()
            expect_match("what came back", text, "received 24000, the same")
            ended_clean(text)
    asyncio.run(run())


def asyncio_client(tools):
    async def talk_to(port, context):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context,
                                                       server_hostname="localhost")
        writer.write(PATTERN)
        expect("the echo is right", await reader.readexactly(len(PATTERN)) == PATTERN, True)
        writer.close()
        await writer.wait_closed()

    async def run(port, version):
        context = context_of(tools, ssl.Purpose.SERVER_AUTH, version)
        await asyncio.wait_for(asyncio.gather(*(talk_to(port, context) for _ in range(3))), SECONDS)

    for version in VERSIONS:
        with tools.server(connections=3) as server:
            asyncio.run(run(server.port, version))
        ended_clean(server.text, 3)


# --- The example --------------------------------------------------------------------------------

def https_pages(tools):
    with tools.https() as server:
        for version, name in VERSIONS.items():
            context = context_of(tools, ssl.Purpose.SERVER_AUTH, version)
            connection = http.client.HTTPSConnection("localhost", server.port, timeout=SECONDS,
                                                     context=context)
            for method, path in (("GET", "/one"), ("GET", "/two"), ("HEAD", "/"), ("POST", "/")):
                connection.request(method, path)
                answer = connection.getresponse()
                expect("the status", answer.status, 405 if method == "POST" else 200)
                wanted = rf"^{method} {path} HTTP/1.1\n{name} with \S+\n$"
                text = answer.read().decode()
                expect_match("the page", text, "^$" if method == "HEAD" else wanted)
            connection.close()


# --- curl, and the example ----------------------------------------------------------------------

def curl(tools, server, *arguments, status=0, name="localhost", trusted="root"):
    command = ["curl", "-sS", "--max-time", str(SECONDS), "--noproxy", "*", "--cacert",
               tools.cert(trusted), "--resolve", f"{name}:{server.port}:127.0.0.1", *arguments]
    command = [word.replace("URL", f"https://{name}:{server.port}") for word in command]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=2 * SECONDS)
    if done.returncode != status:
        raise Failure(f"curl ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def curl_https(tools):
    with tools.https() as server:
        for flags, name in ((["--tlsv1.3"], "TLSv1.3"), (["--tls-max", "1.2"], "TLSv1.2")):
            text = curl(tools, server, "--http1.1", *flags, "URL/hello")
            expect_match("the page", text, rf"^GET /hello HTTP/1.1\n{name} with \S+\n$")
        text = curl(tools, server, "--http1.1", "URL/one", "URL/two", "-w", "%{num_connects}")
        expect_match("two pages over one connection", text, r"(?s)/one.*1GET /two.*0$")
        text = curl(tools, server, "-I", "-0", "URL/")
        expect_match("the head", text, r"^HTTP/1.1 200 OK\n.*Content-Length: \d+".replace(
            r"\n", r"\r?\n(?s:.*)"))
        text = curl(tools, server, "--http1.1", "-d", "a form", "URL/", "-w", "%{http_code}")
        expect_match("a form", text, "405$")


def curl_refuses(tools):
    with tools.https() as server:
        curl(tools, server, "URL/", status=60, name="elsewhere.example")
        curl(tools, server, "URL/", status=60, trusted="stranger")
        if not tools.prefix:  # Wine tells neither the alert nor the reset
            server.wait_for("the peer gave up with the alert|connection reset")
        text = curl(tools, server, "URL/", "--http1.1")
        expect_match("the next page", text, "GET / HTTP/1.1")


# --- GnuTLS -------------------------------------------------------------------------------------

def gnutls_client(tools, server, *flags):
    return Program("gnutls-cli", "--port", server.port, "--x509cafile", tools.cert("root"),
                   "--verify-hostname", "localhost", "--sni-hostname", "localhost",
                   "127.0.0.1", *flags)


GNUTLS = {version: f"NORMAL:-VERS-ALL:+VERS-TLS{version}" for version in VERSIONS}


def gnutls_versions(tools):
    for version, name in VERSIONS.items():
        for key in ("ecdsa", "rsa"):
            with tools.server("--alpn", "h2", key=key) as server:
                with gnutls_client(tools, server, "--alpn", "h2", "--priority",
                                   GNUTLS[version]) as client:
                    client.wait_for("Handshake was completed")
                    talk(client, "hello")
                    text = client.end()
            expect_match("gnutls-cli", text, "Status: The certificate is trusted")
            it = made(server.text)
            expect("version, ALPN, name", (it["version"], it["alpn"], it["name"]),
                   (name, "h2", "localhost"))
            ended_clean(server.text)


def gnutls_resumption(tools):
    for version in VERSIONS:
        with tools.server(connections=2) as server:
            with gnutls_client(tools, server, "--resume", "--waitresumption", "--priority",
                               GNUTLS[version]) as client:
                client.wait_for("This is a resumed session")
                talk(client, "hello")
                client.end()
        expect("reused", [it["reused"] for it in made(server.text, 2)], ["false", "true"])


def gnutls_mutual(tools):
    for version in VERSIONS:
        with tools.server("--ca", tools.cert("root")) as server:
            cert, key = tools.pair("client")
            with gnutls_client(tools, server, "--x509certfile", cert, "--x509keyfile", key,
                               "--priority", GNUTLS[version]) as client:
                client.wait_for("Handshake was completed")
                talk(client, "hello")
                client.end()
        expect("the peer", made(server.text)["peer"], "CN=a client")


def gnutls_rekey(tools):
    with tools.server() as server:
        with gnutls_client(tools, server, "--inline-commands", "--priority",
                           GNUTLS["1.3"]) as client:
            client.wait_for("Handshake was completed")
            talk(client, "before")
            client.send("^rekey^\n")
            talk(client, "after")
            client.end()
    ended_clean(server.text)


def gnutls_renegotiation(tools):
    with tools.server() as server:
        with gnutls_client(tools, server, "--inline-commands", "--priority",
                           GNUTLS["1.2"]) as client:
            client.wait_for("Handshake was completed")
            talk(client, "before")
            client.send("^renegotiate^\n")
            server.wait_for(r"lost .*\n")
            client.end(None)


CHECKS = {
    "s_client": ("openssl", [s_client_versions, s_client_key_update, s_client_renegotiation,
                             s_client_resumption, s_client_mutual, s_client_server_name]),
    "s_server": ("openssl", [s_server_versions, s_server_mutual, s_server_resumption,
                             s_server_key_update, s_server_renegotiation, s_server_names,
                             s_server_strangers]),
    "ssl": (None, [ssl_client, ssl_truncated, ssl_server]),
    "asyncio": (None, [asyncio_client, asyncio_server]),
    "https": (None, [https_pages]),
    "curl": ("curl", [curl_https, curl_refuses]),
    "gnutls": ("gnutls-cli", [gnutls_versions, gnutls_resumption, gnutls_mutual, gnutls_rekey,
                              gnutls_renegotiation]),
}


def main(peer, *places):
    program, checks = CHECKS[peer]
    if program and not shutil.which(program):
        print(f"SKIPPED: {program} is not installed")
        return 0
    failures = 0
    tools = Tools(*places)
    for check in checks:
        began = time.monotonic()
        try:
            check(tools)
            print(f"{check.__name__}: right ({time.monotonic() - began:.1f} s)", flush=True)
        except Exception as error:  # the next check may tell more
            failures += 1
            print(f"{check.__name__}: {type(error).__name__}: {error}", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
