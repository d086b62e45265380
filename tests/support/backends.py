"""Backends that no mock of an HTTP server is rude enough to be: a script of bytes for each connection."""

import contextlib
import socket
import threading
import time

COMPLETION = (
    b'{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}'
)


def head(body_bytes, *headers, status="200 OK"):
    lines = [f"HTTP/1.1 {status}", "content-type: application/json", f"content-length: {body_bytes}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Scripted:
    """Reads each request and answers with these pieces, a number being a pause in seconds, None the end of the connection;
    else it is held.

    `asked` are the requests, `left_at` the moments (as of time.monotonic) at which their askers hung up.
    """

    def __init__(self, *script):
        self.script = script
        self.asked = []
        self.left_at = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with connection, contextlib.suppress(OSError):
            self.asked.append(read_request(connection))
            for piece in self.script:
                if piece is None:
                    return
                if isinstance(piece, bytes):
                    connection.sendall(piece)
                else:
                    time.sleep(piece)
            # Who leaves with something unread resets it.
            with contextlib.suppress(ConnectionResetError):
                while connection.recv(65536):
                    pass
            self.left_at.append(time.monotonic())

    def stop(self):
        # Closed alone, it would go on being waited at; and a process that was stopped meanwhile waits again at whatever has
        # its number by then, which may be the next test's.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def read_request(connection):
    """The bytes of one request with a declared length. Raises an OSError when the connection ends before it does."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += more_of(connection)
    beginning, body = received.split(b"\r\n\r\n", 1)
    lengths = [line.split(b":")[1] for line in beginning.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    while lengths and len(body) < int(lengths[0]):
        body += more_of(connection)
    return beginning + b"\r\n\r\n" + body


def more_of(connection):
    if not (received := connection.recv(65536)):
        raise ConnectionError("closed before its request was whole")
    return received


@contextlib.contextmanager
def full():
    """The address of a listener that accepts nobody, its queue being full: a connection to it is never made."""
    with contextlib.ExitStack() as kept:
        listener = kept.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):
            waiting = kept.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
