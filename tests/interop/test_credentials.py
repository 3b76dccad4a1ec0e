"""Who is let in over python-socketio, and who is refused with a reason."""

import socketio

from facts import Facts
from service import SECRET, WIDGET, new_session, until

UNKNOWN = "wk_unknown_000000000000"


class Credentials(Facts):
    """Every way to carry a credential, and what is refused."""

    def assert_visitor(self, client):
        session = new_session()
        answer = client.call("message", {"text": "Hello", "sessionId": session}, timeout=10)
        self.assertTrue(answer.get("success"), answer)
        self.assertEqual(self.service.history(session), ["Hello"])

    def test_auth_token_lets_in(self, transports):
        self.assert_visitor(self.connect(transports, key=WIDGET))

    def test_auth_api_key_lets_in(self, transports):
        self.assert_visitor(self.connect(transports, key=None, apiKey=WIDGET))

    def test_a_token_in_the_query_lets_in(self, transports):
        query = f"?tenantId=demo&token={WIDGET}"
        self.assert_visitor(self.connect(transports, key=None, query=query))

    def test_the_authorization_header_lets_in(self, transports):
        headers = {"Authorization": f"Bearer {WIDGET}"}
        self.assert_visitor(self.connect(transports, key=None, headers=headers))

    def test_an_anonymous_token_lets_into_its_session(self, transports):
        body = {"tenantId": "demo"}
        answer = self.service.request("POST", "/api/chat/anonymous-token", key=WIDGET, json=body)
        client = self.connect(transports, key=answer["token"])
        said = client.call("message", {"text": "Hello"}, timeout=10)
        self.assertEqual(said["sessionId"], answer["sessionId"])

    def assert_refused(self, transports, code, key=None, query="?tenantId=demo", **auth):
        client = self.client()
        with self.assertRaises(socketio.exceptions.ConnectionError):
            credential = {"token": key} if key else {}
            client.connect(
                self.service.url + query,
                auth={**credential, **auth},
                transports=transports,
                wait_timeout=10,
            )
        until("the client is told why", lambda: client.refusals)
        [refusal] = client.refusals
        self.assertEqual(refusal["message"], code)
        self.assert_problem(refusal["data"], code)

    def test_an_unknown_key_is_refused(self, transports):
        self.assert_refused(transports, "INVALID_API_KEY", key=UNKNOWN)

    def test_a_client_without_a_credential_is_refused(self, transports):
        self.assert_refused(transports, "INVALID_API_KEY")

    def test_an_invalid_token_is_refused(self, transports):
        self.assert_refused(transports, "INVALID_JWT_TOKEN", key="eyJh.eyJh.eyJh")

    def test_a_widget_key_is_not_an_admin(self, transports):
        self.assert_refused(transports, "FORBIDDEN", key=WIDGET, role="admin")

    def test_another_tenant_is_refused(self, transports):
        self.assert_refused(transports, "FORBIDDEN", key=WIDGET, query="?tenantId=other")

    def test_a_secret_key_in_the_query_is_refused(self, transports):
        self.assert_refused(transports, "FORBIDDEN", query=f"?tenantId=demo&token={SECRET}")
