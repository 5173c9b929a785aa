"""Runs a command on a terminal of its own and connects that to a unix socket.

usage: bridge.py SOCKET COMMAND...

Both sides send frames: a byte that says the kind, the length of what follows in
32 bits, the highest first, and that. To here: k, what was typed, and s, lines and
columns of the terminal in 16 bits each; the first s starts the command. From
here: o, what the command wrote, and e, that it has ended. The exit code is that
of the command, 128 and the signal that ended it, or 1 where the other side has
gone away before.
"""

import curses
import fcntl
import os
import pty
import select
import signal
import socket
import struct
import sys
import termios

HEADER = struct.Struct(">cI")
# A type that every builder knows, for terminals that it does not.
FALLBACK = "xterm-256color"


def send(sock, kind, payload=b""):
    sock.sendall(HEADER.pack(kind, len(payload)) + payload)


class Frames:
    """The frames that come over a socket."""

    def __init__(self, sock):
        self.sock = sock
        self.received = bytearray()

    def next(self):
        """Returns the kinds and payloads of one arrival, None at the end."""
        data = self.sock.recv(65536)
        if not data:
            return None
        self.received += data
        frames = []
        while len(self.received) >= HEADER.size:
            kind, length = HEADER.unpack_from(self.received)
            end = HEADER.size + length
            if len(self.received) < end:
                break
            frames.append((kind, bytes(self.received[HEADER.size : end])))
            del self.received[:end]
        return frames


def resize(fd, payload):
    lines, columns = struct.unpack(">HH", payload)
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


def start(command, size):
    """Starts the command; returns its process and the terminal's other end."""
    pid, terminal = pty.fork()
    if pid == 0:
        resize(0, size)
        try:
            curses.setupterm(os.environ.get("TERM") or FALLBACK, 1)
        except curses.error:
            os.environ["TERM"] = FALLBACK
        try:
            os.execvp(command[0], command)
        except OSError as error:
            print(f"{command[0]}: {error.strerror}", flush=True)
            os._exit(127)
    os.set_blocking(terminal, False)
    return pid, terminal


def output(terminal):
    """Returns what the command wrote, or nothing once it has ended."""
    try:
        return os.read(terminal, 32768)
    except BlockingIOError:
        return None
    except OSError:  # how Linux tells that nobody has the terminal open any more
        return b""


def connect(frames, early, pid, terminal):
    """Passes everything on; returns whether the command has ended by itself."""
    sock, typed = frames.sock, bytearray()
    arrived = early
    while True:
        for kind, payload in arrived:
            if kind == b"k":
                typed += payload
            elif kind == b"s":
                resize(terminal, payload)
        arrived = []
        readable, writable, _ = select.select([sock, terminal], [terminal] if typed else [], [])
        if writable:
            try:
                del typed[: os.write(terminal, typed)]
            except OSError:
                typed.clear()
        if terminal in readable:
            data = output(terminal)
            if data:
                send(sock, b"o", data)
            elif data is not None:
                return True
        if sock in readable:
            arrived = frames.next()
            if arrived is None:
                return False


def main(path, command):
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    frames, early = Frames(sock), []
    while not any(kind == b"s" for kind, _ in early):
        arrived = frames.next()
        if arrived is None:
            return 1
        early += arrived
    size = next(payload for kind, payload in early if kind == b"s")
    pid, terminal = start(command, size)
    try:
        ended = connect(frames, early, pid, terminal)
    except OSError:  # the socket's: nobody is there to be told
        ended = False
    if not ended:
        os.kill(pid, signal.SIGHUP)
        os.close(terminal)
        return 1
    _, status = os.waitpid(pid, 0)
    send(sock, b"e")
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code  # as a shell has it


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
