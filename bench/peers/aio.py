"""CPython's asyncio, by the contract in server.hpp: aio.py MODE PORT, or --version."""
import asyncio
import platform
import resource
import socket
import sys

MESSAGE = 64
DATAGRAM_BUFFERS = 4 << 20
BACKLOG = 4096


class Echo(asyncio.Protocol):
    __slots__ = ("transport", "write")

    def connection_made(self, transport):
        self.transport = transport
        self.write = transport.write

    def data_received(self, data):
        self.write(data)

    def pause_writing(self):
        self.transport.pause_reading()

    def resume_writing(self):
        self.transport.resume_reading()


class Split(Echo):
    __slots__ = ()

    def data_received(self, data):
        write = self.write
        for i in range(0, len(data), MESSAGE):
            write(data[i : i + MESSAGE])


class Sink(asyncio.BufferedProtocol):
    __slots__ = ()
    buffer = bytearray(65536)

    def get_buffer(self, _hint):
        return self.buffer

    def buffer_updated(self, _n):
        pass


class Datagrams(asyncio.DatagramProtocol):
    __slots__ = ("sendto",)

    def connection_made(self, transport):
        self.sendto = transport.sendto
        set_datagram_buffers(transport.get_extra_info("socket"))

    def datagram_received(self, data, addr):
        self.sendto(data, addr)


def set_datagram_buffers(made):
    rcvbuf_force, sndbuf_force = 33, 32  # of Linux, for the privileged
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF, rcvbuf_force, sndbuf_force):
        try:
            made.setsockopt(socket.SOL_SOCKET, option, DATAGRAM_BUFFERS)
        except OSError:
            pass


async def serve(protocol, port):
    loop = asyncio.get_running_loop()
    if protocol is Datagrams:
        await loop.create_datagram_endpoint(protocol, local_addr=("127.0.0.1", port))
    else:
        await loop.create_server(protocol, "127.0.0.1", port, backlog=BACKLOG)
    print("READY", flush=True)
    await asyncio.Event().wait()


def main():
    if sys.argv[1:] == ["--version"]:
        print("CPython", platform.python_version())
        return 0
    protocols = {"echo": Echo, "split": Split, "sink": Sink, "udp": Datagrams}
    if len(sys.argv) != 3 or sys.argv[1] not in protocols:
        return 2
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(serve(protocols[sys.argv[1]], int(sys.argv[2])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
