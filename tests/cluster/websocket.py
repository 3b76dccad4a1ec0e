"""A Socket.IO client over a websocket, of the standard library only: it listens, sends, and answers pings."""

import base64
import json
import os
import socket
import struct

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


class Ended(Exception):
    """The connection is over."""


class WebSocket:
    """One connection in the default namespace."""

    def __init__(self, address, auth, timeout=10):
        host, port = address.rsplit(":", 1)
        try:
            self.socket = socket.create_connection((host, int(port)), timeout)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.stream = self.socket.makefile("rb")
            self._upgrade(address)
            self._expect("0")
            self.send("40" + json.dumps(auth))
            self.welcome = json.loads(self._expect("40"))
        except (OSError, ValueError) as error:
            raise Ended(str(error)) from error

    def _upgrade(self, address):
        key = base64.b64encode(os.urandom(16)).decode()
        lines = ["GET /socket.io/?EIO=4&transport=websocket HTTP/1.1", f"Host: {address}", "Connection: Upgrade"]
        lines += ["Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}", "", ""]
        self.socket.sendall("\r\n".join(lines).encode())
        status = self.stream.readline()
        if b" 101 " not in status:
            raise Ended(f"no websocket: {status}")
        while self.stream.readline() not in (b"\r\n", b""):
            pass

    def _expect(self, kind):
        packet = self.packet()
        if not packet.startswith(kind):
            raise Ended(f"{packet} instead of {kind}")
        return packet[len(kind):]

    def send(self, text):
        """Sends a packet."""
        self._frame(TEXT, text.encode())

    def _frame(self, kind, content):
        mask = os.urandom(4)
        length = len(content)
        head = struct.pack("!BB", 128 | kind, 128 | length) if length < 126 else struct.pack("!BBH", 128 | kind, 128 | 126, length)
        try:
            self.socket.sendall(head + mask + bytes(byte ^ mask[place % 4] for place, byte in enumerate(content)))
        except OSError as error:
            raise Ended(str(error)) from error

    def emit(self, name, content):
        """Emits an event."""
        self.send("42" + json.dumps([name, content]))

    def event(self):
        """The next event: its name and its arguments."""
        while True:
            packet = self.packet()
            if packet.startswith("42"):
                name, *arguments = json.loads(packet[2:])
                return name, arguments

    def packet(self):
        """The next packet that is no ping."""
        while True:
            kind, content = self._read()
            if kind == CLOSE:
                raise Ended("closed")
            if kind == PING:
                self._frame(PONG, content)
            elif content == b"2":
                self.send("3")
            elif kind == TEXT:
                return content.decode()

    def _read(self):
        first, second = self._take(2)
        length = second & 127
        if length == 126:
            (length,) = struct.unpack("!H", self._take(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self._take(8))
        return first & 15, self._take(length)

    def _take(self, count):
        try:
            taken = self.stream.read(count)
        except OSError as error:
            raise Ended(str(error)) from error
        if len(taken) < count:
            raise Ended("cut off")
        return taken

    def patience(self, seconds):
        """How long to wait for a packet."""
        self.socket.settimeout(seconds)

    def close(self):
        """Leaves, as a page that is closed."""
        try:
            self._frame(CLOSE, struct.pack("!H", 1000))
            self.socket.shutdown(socket.SHUT_RDWR)
        except (Ended, OSError):
            pass
        self.socket.close()
