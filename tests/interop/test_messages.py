"""What python-socketio sends and receives."""

from facts import Facts
from service import SECRET, new_session, until

TEXT = "👩‍👩‍👧‍👦 \"quoted\" \\ one\ntwo\r\nthree\u2028 שלום  "


class Messages(Facts):
    """A visitor's messages, and an agent's."""

    def test_a_message_is_acknowledged_and_echoed_unchanged(self, transports):
        client = self.connect(transports)
        session = new_session()
        answer = client.call("message", {"text": TEXT, "sessionId": session}, timeout=10)
        self.assertEqual(answer, {"success": True, "messageId": answer["messageId"], "sessionId": session})
        until("it comes back", lambda: client.messages)
        message = client.messages[0]
        self.assertEqual((message["id"], message["text"]), (answer["messageId"], TEXT))
        self.assertEqual((message["sender"], message["tenantId"]), ("user", "demo"))
        self.assertEqual(self.service.history(session), [TEXT])

    def test_a_refused_message_is_an_error_in_its_acknowledgement_or_an_error_event(self, transports):
        client = self.connect(transports)
        details = self.assert_problem(client.call("message", {"text": ""}, timeout=10), "VALIDATION_FAILED")
        self.assertIn("text", details["fields"])
        self.assertEqual(client.heard, [])
        client.emit("message", {"text": ""})
        until("there is an error", lambda: client.heard)
        [(event, problem)] = client.heard
        self.assertEqual(event, "error")
        self.assert_problem(problem, "VALIDATION_FAILED")
        self.assertTrue(client.connected)

    def test_a_message_that_is_sent_twice_is_received_once(self, transports):
        client = self.connect(transports)
        session = new_session()
        message = {"text": "once", "sessionId": session, "clientMessageId": "mine-1"}
        first = client.call("message", message, timeout=10)
        again = client.call("message", message, timeout=10)
        self.assertEqual(again, {**first, "duplicate": True})
        client.call("message", {"text": "last", "sessionId": session}, timeout=10)
        until("the last one comes", lambda: "last" in client.texts)
        self.assertEqual(client.texts, ["once", "last"])

    def test_binary_and_large_packets_harm_nobody(self, transports):
        client = self.connect(transports)
        picture = {"text": "with a picture", "picture": bytes(10_000)}
        self.assertTrue(client.call("message", picture, timeout=10).get("success"))
        large = client.call("message", {"text": "x" * 140_000}, timeout=10)
        self.assert_problem(large, "PAYLOAD_TOO_LARGE")
        first = client.get_sid()
        client.emit("message", {"text": "x" * 2_000_000})
        until("it is back", lambda: client.connected and client.get_sid() not in (None, first))
        self.assertTrue(client.call("message", {"text": "after"}, timeout=10).get("success"))

    def test_two_tabs_and_an_agent_receive_the_same(self, transports):
        session = new_session()
        agent = self.connect(transports, key=SECRET, query="?tenantId=demo&role=admin", role="admin")
        tabs = [self.connect(transports), self.connect(transports, sessionId=session)]
        tabs[0].call("message", {"text": "one", "sessionId": session}, timeout=10)
        agent.call("message", {"text": "two", "sessionId": session, "senderName": "Ann"}, timeout=10)
        tabs[1].emit("message", {"text": "three"})
        until("all have heard all", lambda: all(len(tab.messages) >= 3 for tab in tabs))

        def of_session():
            return [message for message in agent.messages if message["sessionId"] == session]

        until("the agent has heard all", lambda: len(of_session()) >= 3)
        said = [(message["seq"], message["sender"], message["text"]) for message in of_session()]
        self.assertEqual(said, [(1, "user", "one"), (2, "agent", "two"), (3, "user", "three")])
        told = [[{**message, "verified": False} for message in tab.messages] for tab in tabs]
        self.assertEqual(told, [of_session()] * 2)

    def test_an_admin_gets_who_comes_online(self, transports):
        admin = self.connect(transports, key=SECRET, role="admin")
        session = new_session()
        self.connect(transports, sessionId=session, userId=f"user-{session}")

        def told():
            return [call[1] for call in list(admin.heard) if call[0] == "user_online"]

        until("the admin is told", lambda: any(user["sessionId"] == session for user in told()))
        listed = admin.call("get_online_users", {"tenantId": "demo"}, timeout=10)
        self.assertIn(f"user-{session}", [user["userId"] for user in listed["users"]])
        self.assertIn(("online_users_list", listed), admin.heard)

    def test_an_unknown_event_is_ignored(self, transports):
        client = self.connect(transports)
        client.emit("typing", {"sessionId": new_session()})
        self.assert_problem(client.call("typing", {}, timeout=10), "VALIDATION_FAILED")
        self.assertEqual(client.heard, [])
