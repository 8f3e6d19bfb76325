"""A socket peer that does, call by call, what a test tells it.

One JSON command a line on standard input, one JSON answer a line on standard output; bytes as Latin-1 text.
Answers about bytes carry the monotonic times around their calls, the truth that latencies are compared with.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

FAMILIES = {"inet": socket.AF_INET, "inet6": socket.AF_INET6, "unix": socket.AF_UNIX}
LARGEST_READ = 1 << 16
libc = ctypes.CDLL(None, use_errno=True)


class IoVector(ctypes.Structure):
    """The C structure iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class MessageHeader(ctypes.Structure):
    """The C structure msghdr (x86-64 and arm64)."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vectors", ctypes.POINTER(IoVector)),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class ManyMessageHeader(ctypes.Structure):
    """The C structure mmsghdr."""

    _fields_ = (("header", MessageHeader), ("length", ctypes.c_uint32))


def halves(data: bytes) -> tuple[bytes, bytes]:
    """Cut *data* into two parts, for calls that take several."""
    middle = (len(data) + 1) // 2
    return data[:middle], data[middle:]


def message_of(buffer: ctypes.Array[ctypes.c_char], length: int) -> ManyMessageHeader:
    """Describe *buffer* as one message of one vector."""
    vector = IoVector(ctypes.cast(buffer, ctypes.c_void_p), length)
    message = ManyMessageHeader()
    message.header.vectors = ctypes.pointer(vector)
    message.header.vector_count = 1
    return message


def checked(result: int) -> int:
    """Return a C call's *result*, or raise its errno."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def send_messages(connection: socket.socket, data: bytes) -> int:
    """Send by one sendmmsg of two messages."""
    parts = [part for part in halves(data) if part]
    buffers = [ctypes.create_string_buffer(part, len(part)) for part in parts]
    messages = (ManyMessageHeader * len(parts))(
        *(message_of(buffer, len(part)) for buffer, part in zip(buffers, parts, strict=True))
    )
    count = checked(libc.sendmmsg(connection.fileno(), messages, len(parts), 0))
    return sum(message.length for message in messages[:count])


def receive_messages(connection: socket.socket, size: int) -> bytes:
    """Receive by one recvmmsg; MSG_WAITFORONE lets it return with the first message."""
    wait_for_one = 0x10000
    buffers = [ctypes.create_string_buffer(size) for _ in range(2)]
    messages = (ManyMessageHeader * 2)(*(message_of(buffer, size) for buffer in buffers))
    count = checked(libc.recvmmsg(connection.fileno(), messages, 2, wait_for_one, None))
    return b"".join(buffers[index].raw[: messages[index].length] for index in range(count))


def send_file(connection: socket.socket, data: bytes) -> int:
    """Send the bytes of a file by sendfile."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        return os.sendfile(connection.fileno(), file.fileno(), 0, len(data))


def send_spliced(connection: socket.socket, data: bytes) -> int:
    """Send through a pipe by splice."""
    reader, writer = os.pipe()
    try:
        fill = os.write(writer, data)
        return os.splice(reader, connection.fileno(), fill)
    finally:
        os.close(reader)
        os.close(writer)


def receive_spliced(connection: socket.socket, size: int) -> bytes:
    """Receive into a pipe by splice."""
    reader, writer = os.pipe()
    try:
        moved = os.splice(connection.fileno(), writer, size)
        return os.read(reader, moved) if moved else b""
    finally:
        os.close(reader)
        os.close(writer)


class Uring:
    """The io_uring helper library, loaded when a command first asks for it."""

    def __init__(self) -> None:
        self._library: ctypes.CDLL | None = None

    def transfer(self, operation: str, connection: socket.socket, buffer: ctypes.Array[ctypes.c_char]) -> int:
        """Do *operation* on *connection*; return the bytes moved."""
        if self._library is None:
            self._library = ctypes.CDLL(os.environ["URING_LIBRARY"])
            self._library.uring_transfer.restype = ctypes.c_long
            self._library.uring_transfer.argtypes = (
                ctypes.c_char_p,
                ctypes.c_int,
                ctypes.c_void_p,
                ctypes.c_size_t,
            )
        result = int(
            self._library.uring_transfer(operation.encode(), connection.fileno(), buffer, len(buffer))
        )
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        return result

    def send(self, operation: str, connection: socket.socket, data: bytes) -> int:
        """Send *data* by *operation*."""
        return self.transfer(operation, connection, ctypes.create_string_buffer(data, len(data)))

    def receive(self, operation: str, connection: socket.socket, size: int) -> bytes:
        """Receive up to *size* bytes by *operation*."""
        buffer = ctypes.create_string_buffer(size)
        received = self.transfer(operation, connection, buffer)
        return buffer.raw[:received]


uring = Uring()


def receive_into_vectors(connection: socket.socket, size: int) -> bytes:
    """Receive by readv into two buffers, the first of them short."""
    buffers = [bytearray(min(size, 7)), bytearray(max(size - 7, 1))]
    count = os.readv(connection.fileno(), buffers)
    return b"".join(buffers)[:count]


SENDERS: dict[str, Callable[[socket.socket, bytes], int]] = {
    "write": lambda connection, data: os.write(connection.fileno(), data),
    "send": lambda connection, data: connection.send(data),
    "send_more": lambda connection, data: connection.send(data, socket.MSG_MORE),
    "writev": lambda connection, data: os.writev(connection.fileno(), halves(data)),
    "sendmsg": lambda connection, data: connection.sendmsg(halves(data)),
    "sendmmsg": send_messages,
    "sendfile": send_file,
    "splice": send_spliced,
}
RECEIVERS: dict[str, Callable[[socket.socket, int], bytes]] = {
    "read": lambda connection, size: os.read(connection.fileno(), size),
    "recv": lambda connection, size: connection.recv(size),
    "recvfrom": lambda connection, size: connection.recvfrom(size)[0],
    "recvmsg": lambda connection, size: connection.recvmsg(size)[0],
    "readv": receive_into_vectors,
    "recvmmsg": receive_messages,
    "peek": lambda connection, size: connection.recv(size, socket.MSG_PEEK),
    "splice": receive_spliced,
}


def sender(via: str) -> Callable[[socket.socket, bytes], int]:
    """Return the function that sends by the call named *via*."""
    if via.startswith("uring_"):
        return lambda connection, data: uring.send(via.removeprefix("uring_"), connection, data)
    return SENDERS[via]


def receiver(via: str) -> Callable[[socket.socket, int], bytes]:
    """Return the function that receives by the call named *via*."""
    if via.startswith("uring_"):
        return lambda connection, size: uring.receive(via.removeprefix("uring_"), connection, size)
    return RECEIVERS[via]


def endpoint(address: Any) -> dict[str, Any]:
    """Describe a socket address as the tracer's events do."""
    if isinstance(address, tuple):
        return {"address": address[0], "port": address[1]}
    return {"path": address if isinstance(address, str) else address.decode("latin-1")}


class Peer:
    """Sockets by the names that the test gave them, and the commands that act on them."""

    def __init__(self) -> None:
        self._sockets: dict[str, socket.socket] = {}
        self._threads: dict[str, tuple[threading.Thread, list[dict[str, Any]]]] = {}

    def run(self, command: dict[str, Any]) -> dict[str, Any]:
        """Carry out one command; an operating system error is an answer, not an end."""
        try:
            answer: dict[str, Any] = getattr(self, f"do_{command['do']}")(command)
        except OSError as error:
            return {"errno": error.errno, "failed": str(error)}
        return answer

    def do_listen(self, command: dict[str, Any]) -> dict[str, Any]:
        """Listen on ``address``; answers where."""
        listener = socket.socket(FAMILIES[command["family"]], socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if command["family"] == "inet6":
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(command.get("only_v6", True)))
        listener.bind(command["address"] if command["family"] == "unix" else (command["address"], 0))
        listener.listen(128)
        self._sockets[command["name"]] = listener
        return endpoint(listener.getsockname())

    def do_accept(self, command: dict[str, Any]) -> dict[str, Any]:
        """Accept one connection of ``listener`` as ``name``."""
        connection, _ = self._sockets[command["listener"]].accept()
        return self._adopt(command["name"], connection)

    def do_connect(self, command: dict[str, Any]) -> dict[str, Any]:
        """Connect to ``address`` (and ``port``) as ``name``."""
        connection = socket.socket(FAMILIES[command["family"]], socket.SOCK_STREAM)
        target = command["address"] if command["family"] == "unix" else (command["address"], command["port"])
        connection.connect(target)
        return self._adopt(command["name"], connection)

    def do_pair(self, command: dict[str, Any]) -> dict[str, Any]:
        """Make a pair of connected Unix sockets."""
        first, second = socket.socketpair()
        self._adopt(command["name"], first)
        self._adopt(command["other"], second)
        return {}

    def _adopt(self, name: str, connection: socket.socket) -> dict[str, Any]:
        if connection.family != socket.AF_UNIX:
            # Small writes must leave at once, or Nagle's wait would be part of every latency.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(None)
        self._sockets[name] = connection
        return {"local": endpoint(connection.getsockname()), "peer": endpoint(connection.getpeername())}

    def do_send(self, command: dict[str, Any]) -> dict[str, Any]:
        """Send all of ``data`` by ``via``, ``piece`` bytes a call, ``pause_ms`` apart."""
        connection = self._sockets[command["name"]]
        data = command["data"].encode("latin-1")
        piece = command.get("piece") or len(data)
        send = sender(command.get("via", "send"))
        sent = 0
        before_ns = time.monotonic_ns()
        while sent < len(data):
            sent += send(connection, data[sent : sent + piece])
            if command.get("pause_ms"):
                time.sleep(command["pause_ms"] / 1000)
        return {"before_ns": before_ns, "after_ns": time.monotonic_ns(), "bytes": sent}

    def do_receive(self, command: dict[str, Any]) -> dict[str, Any]:
        """Receive exactly ``size`` bytes, or up to the end where ``size`` is null, by ``via``."""
        connection = self._sockets[command["name"]]
        receive = receiver(command.get("via", "recv"))
        wanted = command.get("size")
        largest = command.get("piece") or LARGEST_READ
        data = bytearray()
        before_ns = time.monotonic_ns()
        first_ns = None
        while wanted is None or len(data) < wanted:
            piece = receive(connection, largest if wanted is None else min(largest, wanted - len(data)))
            first_ns = first_ns or time.monotonic_ns()
            if not piece:
                break
            data += piece
        return {
            "before_ns": before_ns,
            "first_ns": first_ns,
            "after_ns": time.monotonic_ns(),
            "data": data.decode("latin-1"),
        }

    def do_shutdown(self, command: dict[str, Any]) -> dict[str, Any]:
        """Close the sending side of ``name``."""
        self._sockets[command["name"]].shutdown(socket.SHUT_WR)
        return {}

    def do_close(self, command: dict[str, Any]) -> dict[str, Any]:
        """Close ``name``."""
        self._sockets.pop(command["name"]).close()
        return {}

    def do_reset(self, command: dict[str, Any]) -> dict[str, Any]:
        """Close ``name`` so that the other side gets a reset."""
        connection = self._sockets.pop(command["name"])
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        return {}

    def do_sleep(self, command: dict[str, Any]) -> dict[str, Any]:
        """Do nothing for ``ms`` milliseconds."""
        time.sleep(command["ms"] / 1000)
        return {}

    def do_batch(self, command: dict[str, Any]) -> dict[str, Any]:
        """Carry out ``commands`` in a row, for short times between them."""
        return {"answers": [self.run(each) for each in command["commands"]]}

    def do_fork(self, command: dict[str, Any]) -> dict[str, Any]:
        """Carry out ``commands`` in a forked child that has inherited the sockets."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            answers = [self.run(each) for each in command["commands"]]
            with os.fdopen(writer, "w") as out:
                json.dump(answers, out)
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as source:
            answers = json.load(source)
        os.waitpid(child, 0)
        return {"answers": answers, "pid": child}

    def do_start_thread(self, command: dict[str, Any]) -> dict[str, Any]:
        """Carry out ``commands`` in a thread; ``join_thread`` fetches the answers."""
        answers: list[dict[str, Any]] = []
        thread = threading.Thread(
            target=lambda: answers.extend(self.run(each) for each in command["commands"]), daemon=True
        )
        thread.start()
        self._threads[command["thread"]] = (thread, answers)
        return {"tid": thread.native_id}

    def do_join_thread(self, command: dict[str, Any]) -> dict[str, Any]:
        """Wait for ``thread`` and return its answers."""
        thread, answers = self._threads.pop(command["thread"])
        thread.join()
        return {"answers": answers}

    def do_run(self, command: dict[str, Any]) -> dict[str, Any]:
        """Run ``argv`` with the socket ``name`` as its standard input and output, as inetd does."""
        connection = self._sockets[command["name"]]
        streams = {"stdin": connection.fileno(), "stdout": connection.fileno()}
        return {"exit_code": subprocess.run(command["argv"], **streams, check=False).returncode}

    def do_pass_socket(self, command: dict[str, Any]) -> dict[str, Any]:
        """Hand the socket ``name`` over the Unix socket ``over``, and close it here."""
        with self._sockets.pop(command["name"]) as connection:
            socket.send_fds(self._sockets[command["over"]], [b"."], [connection.fileno()])
        return {}

    def do_take_socket(self, command: dict[str, Any]) -> dict[str, Any]:
        """Take a socket from the Unix socket ``over`` as ``name``."""
        _, descriptors, _, _ = socket.recv_fds(self._sockets[command["over"]], 1, 1)
        return self._adopt(command["name"], socket.socket(fileno=descriptors[0]))

    def do_duplicate(self, command: dict[str, Any]) -> dict[str, Any]:
        """Give the socket ``name`` a second descriptor called ``other``."""
        self._sockets[command["other"]] = self._sockets[command["name"]].dup()
        return {}


def tell(answer: dict[str, Any]) -> None:
    """Write a line at once."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Serve commands until standard input closes."""
    peer = Peer()
    tell({"pid": os.getpid()})
    for line in sys.stdin:
        tell(peer.run(json.loads(line)))


if __name__ == "__main__":
    main()
