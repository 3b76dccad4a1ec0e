"""Deliveries as the published library for Python verifies them."""

import json
import threading
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

from facts import Facts
from service import new_session, until


class Receiver(ThreadingHTTPServer):
    """Accepts every delivery and keeps it as it came: `(headers, body)`."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Taking)
        self.deliveries = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        """Its URL."""
        return f"http://127.0.0.1:{self.server_port}/hook"

    def of(self, session):
        """The deliveries of a session."""
        return [one for one in list(self.deliveries) if json.loads(one[1])["data"]["sessionId"] == session]


class Taking(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        """A delivery."""
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.deliveries.append((dict(self.headers.items()), body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        """Nothing."""


class Webhooks(Facts):
    """What an endpoint is sent."""

    def setUp(self):
        self.receiver = Receiver()
        self.addCleanup(self.receiver.server_close)
        self.addCleanup(self.receiver.shutdown)
        made = self.service.request("POST", "/api/webhooks", json={"url": self.receiver.url})
        self.endpoint, self.secret = made["id"], made["secret"]
        # The other tests must not get it.
        self.addCleanup(self.service.request, "POST", f"/api/webhooks/{self.endpoint}/pause")

    def deliver(self, session=None, count=1):
        """What the receiver got of a session; without one, an agent writes in a new one."""
        if session is None:
            session = new_session()
            self.service.post("Hello", session)
        until("it is delivered", lambda: len(self.receiver.of(session)) == count)
        return self.receiver.of(session)

    def assert_refused(self, words, secret, headers, body):
        with self.assertRaisesRegex(WebhookVerificationError, words):
            Webhook(secret).verify(body, headers)

    def test_the_published_vector_has_the_published_signature(self):
        webhook = Webhook("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
        time = datetime.fromtimestamp(1614265330, tz=timezone.utc)
        signature = webhook.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", time, '{"test": 2432232314}')
        self.assertEqual(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")

    def test_messages_verify_and_match_the_reference(self, transports):
        session = new_session()
        visitor = self.connect(transports)
        visitor.call("message", {"text": 'Hello ✓ "you"', "sessionId": session}, timeout=10)
        self.service.post("How can I help?", session)
        path = f"/api/chat/messages?tenantId=demo&sessionId={session}"
        history = self.service.request("GET", path)["messages"]
        self.assertEqual([message["sender"] for message in history], ["user", "agent"])
        for (headers, body), message in zip(self.deliver(session, 2), history):
            data = {
                "messageId": message["id"],
                "sessionId": session,
                "userId": message["userId"],
                "tenantId": "demo",
                "text": message["text"],
                "senderType": message["sender"],
            }
            expected = {"event": "message.created", "timestamp": message["timestamp"], "data": data}
            written = json.dumps(expected, separators=(",", ":"), ensure_ascii=False)
            self.assertEqual(body.decode(), written)
            self.assertEqual(Webhook(self.secret).verify(body, headers), expected)

    def test_what_was_altered_or_is_old_is_refused(self):
        [(headers, body)] = self.deliver()
        Webhook(self.secret).verify(body, headers)
        none = "No matching signature"
        self.assert_refused(none, self.secret, headers, body.replace(b"Hello", b"Jello"))
        self.assert_refused(none, self.secret, {**headers, "webhook-id": "another"}, body)
        self.assert_refused(none, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", headers, body)
        now = datetime.now(tz=timezone.utc)
        for moved, words in ((timedelta(minutes=-6), "too old"), (timedelta(minutes=6), "too new")):
            stamp = str(int((now + moved).timestamp()))
            self.assert_refused(words, self.secret, {**headers, "webhook-timestamp": stamp}, body)

    def test_while_a_secret_is_replaced_both_verify(self):
        rotated = self.service.request("POST", f"/api/webhooks/{self.endpoint}/rotate-secret")
        self.assertNotEqual(rotated["secret"], self.secret)
        [(headers, body)] = self.deliver()
        for secret in (self.secret, rotated["secret"]):
            Webhook(secret).verify(body, headers)

    def test_a_test_is_verified_like_a_message(self):
        self.service.request("POST", f"/api/webhooks/{self.endpoint}/test")
        [(headers, body)] = self.receiver.deliveries
        self.assertEqual(Webhook(self.secret).verify(body, headers)["event"], "webhook.test")
