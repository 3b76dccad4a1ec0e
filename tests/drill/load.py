"""Load of visitors and agents: they write, connect and leave until the service is killed."""

import http.client
import json
import threading
import urllib.parse
from dataclasses import dataclass

from service import PATIENCE_SECONDS, Client, Wrong, check

# A new session after so many messages, so that there are many sessions.
MESSAGES_PER_SESSION = 60


@dataclass(frozen=True)
class Tenant:
    """A customer, with its keys."""

    id: str
    widget_key: str
    secret_key: str


@dataclass(frozen=True)
class Acknowledged:
    """A message that was answered 200."""

    tenant: str
    session: str
    id: str
    text: str


class Load:
    """Threads that write and visit. Errors before `expect_end` are kept, and `look` raises them."""

    def __init__(self, address):
        self.address = address
        self.acknowledged = []
        self.wrong = []
        self.is_over = threading.Event()
        self.threads = []

    def start(self, tenants, writers, visitors):
        """Starts the writers and visitors of each tenant, and one visitor who connects and leaves repeatedly."""
        for tenant in tenants:
            for number in range(writers):
                self._run(self._write, tenant, number)
            for number in range(visitors):
                self._run(self._stay, tenant, number)
            self._run(self._come_and_go, tenant)

    def expect_end(self):
        """From now on the end of the service is expected."""
        self.is_over.set()

    def look(self):
        """Raises what went wrong."""
        check(not self.wrong, f"under load: {self.wrong[:3]}")

    def join(self):
        """Waits until everybody has noticed the end."""
        for thread in self.threads:
            thread.join(PATIENCE_SECONDS)
            check(not thread.is_alive(), "a thread of the load does not end")
        self.look()

    def _run(self, work, *arguments):
        def guarded():
            try:
                work(*arguments)
            except (OSError, http.client.HTTPException, ValueError, Wrong) as error:
                if not self.is_over.is_set():
                    self.wrong.append(f"{work.__name__.strip('_')}: {error!r}")

        thread = threading.Thread(target=guarded, daemon=True)
        self.threads.append(thread)
        thread.start()

    def _write(self, tenant, number):
        visitor = Client(self.address, tenant.widget_key)
        agent = Client(self.address, tenant.secret_key)
        count = 0
        while not self.is_over.is_set():
            session = f"session-{number}-{count // MESSAGES_PER_SESSION}"
            text = f"{tenant.id} {number} {count} ✓"
            is_agent = count % 5 == 4
            body = {"text": text, "sessionId": session, "clientMessageId": f"c-{count}"}
            body.update({"senderName": "Ann"} if is_agent else {"userId": f"user-{number}"})
            told = (agent if is_agent else visitor).must("POST", "/webchat/message", body)
            self.acknowledged.append(Acknowledged(tenant.id, session, told["messageId"], text))
            if count % 40 == 39:
                agent.must("POST", f"/api/chat/sessions/{session}/close", {})
            count += 1

    def _stay(self, tenant, number):
        """A visitor who has written: the presence of others is not in the log."""
        visitor = Visitor(self.address, tenant, f"visitor-{number}")
        text = f"{tenant.id} visitor {number} ✓"
        told = visitor.write(text)
        self.acknowledged.append(Acknowledged(tenant.id, told["sessionId"], told["messageId"], text))
        visitor.stay(self.is_over)

    def _come_and_go(self, tenant):
        count = 0
        while not self.is_over.is_set():
            visitor = Visitor(self.address, tenant, f"passer-by-{count}")
            self.is_over.wait(0.2)
            visitor.leave()
            count += 1


class Visitor:
    """A socket over long polling: Engine.IO 4 carrying Socket.IO 5, as much of both as keeps one online."""

    def __init__(self, address, tenant, name):
        self.connection = http.client.HTTPConnection(address, timeout=PATIENCE_SECONDS)
        self.query = {"EIO": "4", "transport": "polling", "tenantId": tenant.id}
        opened = self._ask("GET")
        check(opened.startswith("0{"), f"a socket that opens is told: {opened}")
        self.query["sid"] = json.loads(opened[1:])["sid"]
        auth = {"apiKey": tenant.widget_key, "sessionId": f"session-of-{name}", "userId": name}
        self._ask("POST", f"40{json.dumps(auth)}")
        heard = self._ask("GET")
        check(heard.startswith("40{"), f"{name} is not let in: {heard}")

    def write(self, text):
        """Sends a message; returns its acknowledgement."""
        self._ask("POST", f'420["message",{json.dumps({"text": text})}]')
        while True:
            for packet in self._ask("GET").split("\x1e"):
                if packet.startswith("430["):
                    (told,) = json.loads(packet[3:])
                    check(told.get("success"), f"a message is answered: {told}")
                    return told
                if packet == "2":
                    self._ask("POST", "3")

    def stay(self, is_over):
        """Answers pings until the end."""
        while not is_over.is_set():
            for packet in self._ask("GET").split("\x1e"):
                if packet == "2":
                    self._ask("POST", "3")

    def leave(self):
        """Says goodbye."""
        self._ask("POST", "41")
        self.connection.close()

    def _ask(self, method, body=None):
        self.connection.request(method, f"/socket.io/?{urllib.parse.urlencode(self.query)}", body)
        response = self.connection.getresponse()
        text = response.read().decode()
        check(response.status == 200, f"a poll is answered {response.status}: {text}")
        return text
