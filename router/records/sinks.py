"""Where lines go: the sink of record, whose `write` counts, and copies, which may be dropped.

A sink of record gets whole batches and reports how many bytes made it. After a failure the next
batch starts on a line of its own, so that a torn line never spoils a good one.

`write(2)` having returned means that a killed process loses nothing; a machine that loses power may
lose what the kernel had not yet put on disk.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Literal, Protocol

if TYPE_CHECKING:
    from pathlib import Path

MODE: Final = 0o600
PIPE_PIECE: Final = select.PIPE_BUF  # a pipe that polls as writable takes this much at once
STUCK_AFTER_MS: Final = 1_000
COPY_BYTES: Final = 4 * 1024 * 1024

Ready = Literal["same", "new"]


class Sink(Protocol):
    """What the writer needs of a sink of record. Every method may raise OSError."""

    def ready(self) -> Ready:
        """Open what is not open; tell whether the next line is the first of ours in a new file."""

    def write(self, lines: bytes | memoryview) -> int:
        """Write, and return the number of bytes of `lines` that are in the sink by now."""

    def failed(self, *, torn: bool) -> None:
        """Hear that the last write failed, and whether it ended within a line. Never raises."""

    def close(self) -> None:
        """Let go of what was opened. Never raises."""


class FileSink:
    """A file, appended to. Renamed, removed or emptied under us, it is opened or started anew.

    Several processes on one machine may append to one file. Files on a network are not supported:
    O_APPEND is not atomic there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._known: tuple[int, int] | None = None
        self._size = 0
        self._torn = False

    def ready(self) -> Ready:
        """Open the file, or check that the path still leads to it."""
        if self._fd >= 0:
            with suppress(FileNotFoundError):
                there = self._path.stat()
                if (there.st_dev, there.st_ino) == self._known:
                    emptied = stat.S_ISREG(there.st_mode) and there.st_size < self._size
                    self._size = there.st_size
                    return "new" if emptied else "same"
            self.close()
        return self._open()

    def _open(self) -> Ready:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY
        fd = os.open(self._path, flags, MODE)
        status = os.fstat(fd)
        before, self._known = self._known, (status.st_dev, status.st_ino)
        emptied = status.st_size < self._size
        self._fd, self._size = fd, status.st_size
        # A crash or a full disk may have left half a line; one that we may not read might be half.
        self._torn = stat.S_ISREG(status.st_mode) and not _ends_clean(self._path, status.st_size)
        return "same" if before == self._known and not emptied else "new"

    def write(self, lines: bytes | memoryview) -> int:
        """Append with one call; a full disk may take less than all."""
        if self._torn:
            os.write(self._fd, b"\n")
            self._torn = False
        return os.write(self._fd, lines)

    def failed(self, *, torn: bool) -> None:  # noqa: ARG002 - opening it again looks for itself
        """Close it: whatever is wrong with this descriptor, a retry starts with a new one."""
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            with suppress(OSError):
                os.close(self._fd)
            self._fd = -1


def _ends_clean(path: Path, size: int) -> bool:
    if size == 0:
        return True
    try:
        with path.open("rb") as file:
            file.seek(size - 1)
            return file.read(1) == b"\n"
    except OSError:
        return False


class StreamSink:
    """Somebody else's open descriptor, such as standard output, as the sink of record.

    A pipe that nobody reads fails after a second instead of blocking for ever: it is written in
    pieces that a pipe which polls as writable takes without blocking.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._torn = False
        self._fresh = True

    def ready(self) -> Ready:
        """Tell whether this is the first use."""
        fresh, self._fresh = self._fresh, False
        return "new" if fresh else "same"

    def write(self, lines: bytes | memoryview) -> int:
        """Write what it takes now; BlockingIOError when it takes nothing for a second."""
        if self._torn:
            self._piece(b"\n")
            self._torn = False
        return self._piece(lines)

    def _piece(self, lines: bytes | memoryview) -> int:
        if stat.S_ISREG(os.fstat(self._fd).st_mode):
            return os.write(self._fd, lines)
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        if not poll.poll(STUCK_AFTER_MS):
            raise BlockingIOError(errno.EAGAIN, "nobody reads")
        return os.write(self._fd, lines[:PIPE_PIECE])

    def failed(self, *, torn: bool) -> None:
        """Remember to start on a line of its own."""
        self._torn = self._torn or torn

    def close(self) -> None:
        """Leave the descriptor open: it is not ours."""


class Copies:
    """Copies of what was written, for a stream. They never hold up the sink of record.

    A thread of their own may block on the stream for as long as it likes; meanwhile up to 4 MiB
    wait, and what comes on top is dropped and counted.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._waiting: deque[tuple[bytes, int]] = deque()
        self._bytes = 0
        self._wake = threading.Condition()
        self._closing = False
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="record-copies", daemon=True)
        self._thread.start()

    def offer(self, lines: bytes, count: int) -> None:
        """Take `count` lines, or drop them when too much is waiting. Never blocks, never raises."""
        with self._wake:
            if self._bytes + len(lines) > COPY_BYTES:
                self.dropped += count
                return
            self._waiting.append((lines, count))
            self._bytes += len(lines)
            self._wake.notify()

    def close(self, within_s: float) -> None:
        """Let what waits go out, for at most `within_s` seconds."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(within_s)

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._waiting and not self._closing:
                    self._wake.wait()
                if not self._waiting:
                    return
                lines, count = self._waiting.popleft()
                self._bytes -= len(lines)
            if not self._copied(lines):
                with self._wake:
                    self.dropped += count

    def _copied(self, lines: bytes) -> bool:
        view = memoryview(lines)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:  # a descriptor that somebody made non-blocking
                poll = select.poll()
                poll.register(self._fd, select.POLLOUT)
                poll.poll(STUCK_AFTER_MS)
            except OSError:
                return False
        return True
