"""asyncio as the contract has it: the rows in which ferry differs on purpose, put into asyncio.

A scenario says "amend: C-11 C-16", and the oracle then plays by these rows. It is for generated
scenarios, which meet the known differences all the time; each row here has a scenario of its own
in scenarios/ that shows the difference without an amendment.
"""
import contextlib
from asyncio import selector_events

ROWS = {
    "A-005": "what get_buffer() does to its transport holds at once: nothing is read after it "
             "closed, paused, or gave way to another protocol",
    "C-11": "new marks may resume writing too, in a later turn, judged again then",
    "C-12": "connection_lost() comes once, in a turn of its own",
    "C-13": "writelines() keeps the marks and writes nothing if there is nothing to write",
    "C-16": "from the end of input on nothing is read: is_reading() is false, and "
            "resume_reading() does not bring the end a second time",
    "C-22": "a transport that is lost throws nothing",
    "T-015": "pause_reading() holds inside connection_made() too (CPython until 3.11.2 forgets it)",
    "T-050": "write_eof() does not throw when the connection is over already",
    "T-018": "what is written after close() is dropped, also while the buffer is flushed",
}
rows = set()  # of the scenario that is being played

Original = selector_events._SelectorSocketTransport


class Amended(Original):
    _ended = False
    _in_flush = False
    _judging = False

    _told = False  # connection_lost() was called

    def _is_gone(self):
        return "C-22" in rows and self._told

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

    def _write_ready(self):
        self._flush(super()._write_ready)

    def _write_send(self):  # these two: CPython 3.12 and later
        self._flush(super()._write_send)

    def _write_sendmsg(self):
        self._flush(super()._write_sendmsg)

    def _call_connection_lost(self, exc):
        if not self._in_flush:
            self._told = True
            super()._call_connection_lost(exc)
        elif not self._conn_lost:
            self._conn_lost += 1
            self._loop.call_soon(self._call_connection_lost, exc)

    # --- C-22, T-018, T-050 ---

    def write_eof(self):
        with contextlib.suppress(*[OSError] if "T-050" in rows else []):
            super().write_eof()

    def abort(self):
        if not self._is_gone():
            super().abort()

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


def install():
    selector_events._SelectorSocketTransport = Amended
