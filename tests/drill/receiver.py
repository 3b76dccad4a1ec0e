"""An endpoint that accepts deliveries and remembers what came when."""

import json
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Delivery:
    """One request."""

    webhook_id: str
    message_id: str
    is_taken: bool
    # When its answer had been written, on the clock of `time.monotonic`.
    answered: float


class Receiver(ThreadingHTTPServer):
    """Accepts deliveries; refuses every n-th message once, so that some wait for a second attempt."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, refuses_every=0, refuses_always=False):
        super().__init__(("127.0.0.1", 0), _Taking)
        self.refuses_always = refuses_always
        self.refuses_every = refuses_every
        self.guard = threading.Lock()
        self.seen = set()
        self.deliveries = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        """Its URL."""
        return f"http://127.0.0.1:{self.server_port}/hook"

    def takes(self, webhook_id):
        """Whether a delivery is accepted, or refused because it is its turn."""
        with self.guard:
            is_new = webhook_id not in self.seen
            self.seen.add(webhook_id)
            if self.refuses_always:
                return False
            return not (is_new and self.refuses_every and len(self.seen) % self.refuses_every == 0)

    def taken(self):
        """What it accepted, in order."""
        with self.guard:
            return [delivery for delivery in self.deliveries if delivery.is_taken]

    def close(self):
        """Ends it."""
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        """A service that is killed breaks connections: not worth reporting."""


class _Taking(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        """A delivery."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        webhook_id = self.headers["webhook-id"]
        is_taken = self.server.takes(webhook_id)
        # Recorded before it is answered: whatever the sender counts as delivered is in the list.
        message_id = body["data"].get("messageId", "")
        delivery = Delivery(webhook_id, message_id, is_taken, float("inf"))
        with self.server.guard:
            self.server.deliveries.append(delivery)
        self.send_response(204 if is_taken else 503)
        self.send_header("content-length", "0")
        self.end_headers()
        self.wfile.flush()
        delivery.answered = time.monotonic()

    def log_message(self, *_):
        """Nothing."""
