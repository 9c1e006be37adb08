"""asyncio as the contract has it: the rows in which ferry differs on purpose, put into asyncio.

A scenario says "amend: C-11 C-16", and the oracle then plays by these rows. It is for generated
scenarios, which meet the known differences all the time; each row here has a scenario of its own
in scenarios/ that shows the difference without an amendment.
"""
import contextlib
import os
import ssl
from asyncio import selector_events, sslproto, unix_events

ROWS = {
    "A-003": "is_reading() of TLS is false once it closes or the peer has ended",
    "A-027": "each datagram that waits counts 8 bytes more",
    "A-005": "what get_buffer() does to its transport holds at once: nothing is read after it "
             "closed, paused, or gave way to another protocol",
    "C-01": "TLS pauses strictly over the high mark",
    "C-07": "what comes after close() over TLS is thrown away",
    "C-08": "eof_received() is not called for an end of one's own",
    "C-09": "TLS that ends without close_notify is lost by an error",
    "C-11": "new marks may resume writing too, in a later turn, judged again then",
    "C-12": "connection_lost() comes once, in a turn of its own",
    "C-13": "writelines() keeps the marks and writes nothing if there is nothing to write",
    "C-14": "TLS counts what it has written until it has left",
    "C-15": "what connection_made() throws over TLS is reported, and the connection goes on; what "
            "the callbacks of a pipe's input throw ends it",
    "C-16": "from the end of input on nothing is read: is_reading() is false, and "
            "resume_reading() does not bring the end a second time; a pipe that answers yes to it "
            "stays open",
    "C-17": "an empty datagram is sent (CPython until 3.12 drops it)",
    "C-22": "a transport that is lost throws nothing",
    "S-019": "the pipe's handle is closed before connection_lost() is called, not after it",
    "T-015": "pause_reading() holds inside connection_made() too (CPython until 3.11.2 forgets it)",
    "T-019": "what resume_writing() of a pipe writes before it closes is sent",
    "T-027": "a pipe resumes at the low mark, and does not wait until its buffer is empty",
    "T-049": "write() of a pipe after write_eof() throws until the pipe is lost",
    "T-050": "write_eof() does not throw when the connection is over already",
    "T-023": "TLS knows its names to the end",
    "T-071": "what comes after the data that paused reading waits, an end too",
    "T-073": "what is still to be sent over TLS goes down before the end: T-018 would drop it",
    "T-145": "sendto() is dropped from close() on",
    "T-147": "a datagram without an address is an error to the caller if the endpoint has none; "
             "what the system refuses is told in a later turn",
    "T-018": "what is written after close() is dropped, also while the buffer is flushed",
}
rows = set()  # of the scenario that is being played

Original = selector_events._SelectorSocketTransport
OriginalDatagrams = selector_events._SelectorDatagramTransport
OriginalReadPipe = unix_events._UnixReadPipeTransport
OriginalWritePipe = unix_events._UnixWritePipeTransport


class Common:
    """Of both kinds of transports."""

    _in_flush = False
    _judging = False
    _told = False  # connection_lost() was called

    def _is_gone(self):
        return "C-22" in rows and self._told

    def abort(self):
        if not self._is_gone():
            super().abort()

    # --- C-11 ---

    def set_write_buffer_limits(self, high=None, low=None):
        super().set_write_buffer_limits(high, low)
        if "C-11" not in rows or not self._may_resume() or self._judging:
            return
        self._judging = True
        self._loop.call_soon(self._judge)

    def _may_resume(self):
        size = self.get_write_buffer_size()
        return not self._conn_lost and self._protocol_paused and size <= self._low_water

    def _judge(self):
        self._judging = False
        if self._may_resume():
            self._maybe_resume_protocol()

    # --- C-12 ---

    def _flush(self, how):
        self._in_flush = "C-12" in rows
        try:
            how()
        finally:
            self._in_flush = False

    def _call_connection_lost(self, exc):
        if not self._in_flush:
            self._told = True
            super()._call_connection_lost(exc)
        elif not self._conn_lost:
            self._conn_lost += 1
            self._loop.call_soon(self._call_connection_lost, exc)


class Amended(Common, Original):
    _ended = False

    # --- C-16, T-015 ---

    def is_reading(self):
        return super().is_reading() and not ("C-16" in rows and self._ended)

    def resume_reading(self):
        if self._ended and "C-16" in rows:
            self._paused = False
        else:
            super().resume_reading()

    def _add_reader(self, *args):
        if self.is_reading() or "T-015" not in rows:
            super()._add_reader(*args)

    def _read_ready__on_eof(self):
        self._ended = True
        super()._read_ready__on_eof()

    # --- C-12 ---

    def _write_ready(self):
        self._flush(super()._write_ready)

    def _write_send(self):  # these two: CPython 3.12 and later
        self._flush(super()._write_send)

    def _write_sendmsg(self):
        self._flush(super()._write_sendmsg)

    # --- C-22, T-018, T-050 ---

    def write_eof(self):
        with contextlib.suppress(*[OSError] if "T-050" in rows else []):
            super().write_eof()

    def write(self, data):
        if self._is_gone():
            return
        if "T-018" in rows and self._closing and not self._eof:
            return
        super().write(data)

    def writelines(self, chunks):
        if self._is_gone() or ("T-018" in rows and self._closing and not self._eof):
            return
        if "C-13" not in rows:
            super().writelines(chunks)
        else:
            self.write(b"".join(chunks))  # as until CPython 3.11

    # --- A-005 ---

    def _read_ready__get_buffer(self):
        if "A-005" not in rows:
            return super()._read_ready__get_buffer()
        if self._conn_lost:
            return None
        asked = self._protocol
        try:
            memory = asked.get_buffer(-1)
            if not len(memory):
                raise RuntimeError("get_buffer() returned an empty buffer")
        except Exception as exc:
            return self._fatal_error(exc, "Fatal error: protocol.get_buffer() call failed.")
        if not self.is_reading():
            return None
        if self._protocol is not asked:
            return self._read_ready()
        return self._receive_into(memory)

    def _receive_into(self, memory):
        try:
            count = self._sock.recv_into(memory)
        except BlockingIOError:
            return
        except OSError as exc:
            self._fatal_error(exc, "Fatal read error on socket transport")
            return
        if not count:
            self._read_ready__on_eof()
            return
        try:
            self._protocol.buffer_updated(count)
        except Exception as exc:
            self._fatal_error(exc, "Fatal error: protocol.buffer_updated() call failed.")


class ErrorsLater:
    """A protocol that is told in a later turn what became of its datagrams."""

    def __init__(self, protocol, loop):
        self._protocol, self._loop = protocol, loop

    def __getattr__(self, name):
        return getattr(self._protocol, name)

    def error_received(self, exc):
        self._loop.call_soon(self._protocol.error_received, exc)


class NeverFalse(bytes):
    def __bool__(self):
        return True


class AmendedDatagrams(Common, OriginalDatagrams):

    # --- A-027 ---

    def get_write_buffer_size(self):
        if "A-027" not in rows:
            return super().get_write_buffer_size()
        return sum(len(entry[0]) + 8 for entry in self._buffer)

    # --- C-17, T-145, T-147 ---

    def sendto(self, data, addr=None):
        if "T-147" in rows and not self._address and addr is None:
            raise ValueError("no address")
        late = self._closing and (not self._address or addr in (None, self._address))
        if "T-145" in rows and late:
            return
        if "C-17" in rows:
            data = NeverFalse(data)
        if "T-147" not in rows:
            super().sendto(data, addr)
            return
        protocol = self._protocol
        self._protocol = later = ErrorsLater(protocol, self._loop)
        try:
            super().sendto(data, addr)
        finally:
            if self._protocol is later:  # else set_protocol() was called inside
                self._protocol = protocol

    # --- C-12 ---

    def _sendto_ready(self):
        self._flush(super()._sendto_ready)


class CommonPipe:
    """Of a pipe that is read and of one that is written."""

    _told = False

    # --- C-12, S-019 ---

    def _call_connection_lost(self, exc):
        if self._told and "C-12" in rows:
            return
        self._told = True
        if "S-019" in rows:
            self._pipe.close()
        super()._call_connection_lost(exc)


class AmendedReadPipe(CommonPipe, OriginalReadPipe):
    _ended = False

    # --- C-15, C-16 ---

    def is_reading(self):
        return super().is_reading() and not self._ended

    def resume_reading(self):
        if not self._ended:
            super().resume_reading()

    def _read_ready(self):
        if "C-16" not in rows:
            super()._read_ready()
            return
        try:
            data = os.read(self._fileno, self.max_size)
        except OSError as exc:
            self._fatal_error(exc)
            return
        try:
            if data:
                self._protocol.data_received(data)
            else:
                self._end()
        except Exception as exc:
            if "C-15" not in rows:
                raise
            self._fatal_error(exc)

    def _end(self):
        self._ended = True
        self._loop._remove_reader(self._fileno)
        if not self._protocol.eof_received():
            self.close()

    def _fatal_error(self, exc, message="Fatal error on pipe transport"):
        if isinstance(exc, OSError) and "C-15" in rows:  # as a socket's
            self._close(exc)
        else:
            super()._fatal_error(exc, message)


class AmendedWritePipe(CommonPipe, Common, OriginalWritePipe):
    _over = False
    _ended = False
    _drained = False

    # --- T-049 ---

    def write(self, data):
        if self._ended and not self._told and "T-049" in rows:
            raise RuntimeError("write() after write_eof()")
        super().write(data)

    def write_eof(self):
        self._ended = self._ended or not self._closing
        super().write_eof()

    def close(self):
        if not self._closing:
            super().write_eof()  # and no error to who writes then

    # --- C-11 ---

    def _may_resume(self):
        size = self.get_write_buffer_size()
        return not self._over and self._protocol_paused and size <= self._low_water

    def _close(self, exc=None):
        self._over = True
        super()._close(exc)

    # --- C-12, T-019, T-027 ---

    def _write_ready(self):
        self._drained = False
        self._flush(super()._write_ready)
        # What resume_writing() wrote is not judged a second time.
        if not self._drained and not self._over and "T-027" in rows:
            self._maybe_resume_protocol()

    def _maybe_resume_protocol(self):
        self._drained = True
        super()._maybe_resume_protocol()

    def _call_connection_lost(self, exc):
        if not self._in_flush:
            self._over = True
            super()._call_connection_lost(exc)
        elif not (self._buffer and "T-019" in rows):
            self._loop.call_soon(self._call_connection_lost, exc)


class AmendedTransport(sslproto._SSLProtocolTransport):
    """TLS, as its user sees it."""

    def is_reading(self):
        if "A-003" not in rows:
            return super().is_reading()
        return self._ssl_protocol.is_open() and super().is_reading()

    def close(self):
        if self._closed and "C-22" in rows:
            return
        self._ssl_protocol.closed_by_us = not self._closed
        super().close()

    def set_write_buffer_limits(self, high=None, low=None):
        tls = self._ssl_protocol
        if "C-11" not in rows:
            super().set_write_buffer_limits(high, low)
            return
        tls._set_write_buffer_limits(high, low)
        if tls._app_writing_paused:
            tls._loop.call_soon(tls._control_app_writing)
        else:
            tls._control_app_writing()


class AmendedProtocol(sslproto.SSLProtocol):
    """TLS itself."""

    closed_by_us = False
    _cut = False
    _failed = False

    def is_open(self):
        made = self._app_state == sslproto.AppProtocolState.STATE_CON_MADE
        return made and self._state == sslproto.SSLProtocolState.WRAPPED

    def connection_made(self, transport):
        self._transport = transport
        self._pass_marks_down()
        if "T-023" in rows:
            for name in ("sockname", "peername"):
                self._extra[name] = transport.get_extra_info(name)
        super().connection_made(transport)

    # --- C-12 ---

    def connection_lost(self, exc):
        app, state = self._app_protocol, self._app_state
        if "C-12" in rows:  # it is in a turn of its own: not in one more
            self._app_state = sslproto.AppProtocolState.STATE_CON_LOST
        made = (sslproto.AppProtocolState.STATE_CON_MADE, sslproto.AppProtocolState.STATE_EOF)
        super().connection_lost(exc)
        if "C-12" in rows and state in made:
            app.connection_lost(exc)

    # --- T-015, T-073 ---

    def _send_all(self):
        data = self._outgoing.read()
        if data and self._transport is not None:
            self._transport.write(data)

    def _set_state(self, new_state):
        super()._set_state(new_state)
        # Else a reader that pauses at once keeps the end of the handshake back.
        if "T-015" in rows and new_state == sslproto.SSLProtocolState.WRAPPED:
            self._send_all()

    def _on_shutdown_complete(self, shutdown_exc):
        if "T-073" in rows and not shutdown_exc:
            self._send_all()
        super()._on_shutdown_complete(shutdown_exc)

    # --- C-15 ---

    def _set_app_protocol(self, app_protocol):
        super()._set_app_protocol(app_protocol)
        if "C-15" not in rows:
            return
        made = app_protocol.connection_made

        def connection_made(transport):
            try:
                made(transport)
            except Exception as exc:
                self._loop.call_exception_handler({
                    "message": "protocol.connection_made() failed", "exception": exc})
        app_protocol.connection_made = connection_made

    # --- C-01, C-14 ---

    def _get_write_buffer_size(self):
        size = super()._get_write_buffer_size()
        if "C-14" in rows and self._transport is not None:
            size += self._transport.get_write_buffer_size()
        return size

    def _set_write_buffer_limits(self, high=None, low=None):
        super()._set_write_buffer_limits(high, low)
        self._pass_marks_down()

    def _pass_marks_down(self):
        """So that the transport below tells when it is time to resume."""
        if "C-14" in rows and self._transport is not None:
            low = self._outgoing_low_water
            self._transport.set_write_buffer_limits(high=low, low=low)

    def _fatal_error(self, exc, message="Fatal error on transport"):
        self._failed = True
        super()._fatal_error(exc, message)

    def _control_app_writing(self):
        aborted = self._failed or self._state == sslproto.SSLProtocolState.UNWRAPPED
        if self._app_protocol is None or ("C-14" in rows and aborted):
            return
        at_mark = self._get_write_buffer_size() == self._outgoing_high_water
        if "C-01" in rows and at_mark and not self._app_writing_paused:
            return
        super()._control_app_writing()

    # --- C-07, C-08, T-071 ---

    def _end_waits(self):
        told = self._app_state != sslproto.AppProtocolState.STATE_CON_MADE
        paused = self._app_reading_paused and not self.closed_by_us
        return "T-071" in rows and paused and not told

    def _call_eof_received(self):
        own = self.closed_by_us or self._state == sslproto.SSLProtocolState.UNWRAPPED
        if not (own and "C-08" in rows) and not self._end_waits():
            super()._call_eof_received()

    def _start_shutdown(self):
        if not self._end_waits():  # what is read next says it again
            super()._start_shutdown()

    def _throw_away(self):
        with contextlib.suppress(ssl.SSLError):
            while self._sslobj.read(65536):
                pass

    def _do_read(self):
        if self.closed_by_us and "C-07" in rows:
            self._throw_away()
            return
        super()._do_read()
        if self._cut and not self._app_reading_paused:
            self._end_by_cut()

    def _do_shutdown(self):
        if self.closed_by_us and "C-07" in rows:
            self._throw_away()  # data instead of an answer
        super()._do_shutdown()

    # --- C-09 ---

    def eof_received(self):
        if "C-09" not in rows or self._state != sslproto.SSLProtocolState.WRAPPED:
            return super().eof_received()
        self._eof_received = self._cut = True
        if not self._app_reading_paused:
            self._end_by_cut()
        return True

    def _end_by_cut(self):
        if self._transport is not None:
            self._app_transport._closed = True
            self._transport._force_close(ssl.SSLEOFError(8, "without close_notify"))


def install():
    selector_events._SelectorSocketTransport = Amended
    selector_events._SelectorDatagramTransport = AmendedDatagrams
    unix_events._UnixReadPipeTransport = AmendedReadPipe
    unix_events._UnixWritePipeTransport = AmendedWritePipe
    sslproto._SSLProtocolTransport = AmendedTransport
    sslproto.SSLProtocol = AmendedProtocol
