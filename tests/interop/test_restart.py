"""python-socketio finds the service again after a restart."""

from facts import Facts
from service import new_session, until


class Restart(Facts):
    """A client with its own reconnection."""

    def test_a_client_reconnects_and_receives_its_session_again(self, transports):
        session = new_session()
        client = self.connect(transports, sessionId=session)
        client.call("message", {"text": "before"}, timeout=10)
        until("it hears itself", lambda: client.texts == ["before"])
        self.service.end()
        until("it is away", lambda: not client.connected)
        self.service.start()
        until("it is back", lambda: client.connected and "/" in client.namespaces)
        client.call("message", {"text": "after"}, timeout=10)
        self.service.post("an answer", session)
        until("it hears on", lambda: "an answer" in client.texts)
        self.assertEqual(client.texts, ["before", "after", "an answer"])
        self.assertEqual(self.service.history(session), client.texts)
