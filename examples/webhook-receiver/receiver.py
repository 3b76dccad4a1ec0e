"""Receives every message of a tenant: verifies, drops repeats, answers at once, works afterwards.

    pip install -r requirements.txt
    WEBHOOK_SECRET=whsec_… python3 receiver.py          # listens on 127.0.0.1:9000, path /hook

WEBHOOK_SECRET may hold several secrets, separated by commas: while one is replaced, both are good.
"""

import os
import sys
import threading
from collections import OrderedDict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

PORT = int(os.environ.get("PORT", "9000"))
MAX_BODY_BYTES = 1024 * 1024
MAX_REMEMBERED = 100_000

SECRETS = [secret for secret in os.environ.get("WEBHOOK_SECRET", "").split(",") if secret]
if not SECRETS:
    sys.exit("set WEBHOOK_SECRET to the secret that the service gave when the webhook was made")
WEBHOOKS = [Webhook(secret) for secret in SECRETS]

# Accepted deliveries. In a real system this is a unique key in the database that stores the work.
taken = OrderedDict()
lock = threading.Lock()


def verified(body, headers):
    """The body, parsed, when one of the secrets has signed exactly these bytes within the last five minutes."""
    refusal = None
    for webhook in WEBHOOKS:
        try:
            return webhook.verify(body, headers)
        except WebhookVerificationError as error:
            refusal = error
    raise refusal


def is_taken(delivery):
    with lock:
        return delivery in taken


def remember(delivery):
    with lock:
        taken[delivery] = None
        if len(taken) > MAX_REMEMBERED:
            taken.popitem(last=False)


def work(message):
    data = message["data"]
    if message["event"] == "message.created":
        print(f"{message['timestamp']} {data['sessionId']} {data['senderType']}: {data['text']}", flush=True)
    else:
        # webhook.test, and whatever is added later: accept it, and do nothing.
        print(f"{message['timestamp']} {message['event']}", flush=True)


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        length = int(self.headers.get("content-length", 0))
        if self.path != "/hook" or length > MAX_BODY_BYTES:
            self.close_connection = True
            return self.answer(404)
        # The bytes as they came: a body that was parsed and written again has another signature.
        body = self.rfile.read(length)
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            message = verified(body, headers)
        except WebhookVerificationError as error:
            print(f"refused: {error}", file=sys.stderr, flush=True)
            return self.answer(400)
        # The service waits 15 seconds. Work that takes longer belongs into a queue; here it is a printed line.
        delivery = headers["webhook-id"]
        if not is_taken(delivery):
            work(message)
            remember(delivery)
        return self.answer(204)

    def answer(self, status):
        self.send_response(status)
        if status != 204:
            self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Nothing: messages are printed above."""


print(f"listening on http://127.0.0.1:{PORT}/hook", flush=True)
ThreadingHTTPServer(("127.0.0.1", PORT), Receiver).serve_forever()
