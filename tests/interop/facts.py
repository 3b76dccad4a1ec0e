"""What the Python test files share: clients that disconnect when a test ends, and one service for each class.

A test that takes a second argument is one of each transport, which it is given.
"""

import functools
import inspect
import threading
import unittest

import socketio

from service import WIDGET, Service, until

TRANSPORTS = {
    "websocket": ["websocket"],
    "polling": ["polling"],
    "polling, then websocket": ["polling", "websocket"],
}


class Client(socketio.Client):
    """A client, and what it has received: `(event, argument)` in order."""

    def __init__(self):
        super().__init__(reconnection_delay=0.05, reconnection_delay_max=0.2, randomization_factor=0)
        self.heard = []
        self.refusals = []
        self.on("*", lambda event, *arguments: self.heard.append((event, *arguments)))
        self.on("connect_error", self.refusals.append)

    @property
    def messages(self):
        """The messages that it received."""
        return [call[1]["message"] for call in list(self.heard) if call[0] == "meta_message_created"]

    @property
    def texts(self):
        """The texts that it received."""
        return [message["text"] for message in self.messages]


class Facts(unittest.TestCase):
    """Facts about one service that is started for them."""

    def __init_subclass__(cls, **more):
        super().__init_subclass__(**more)
        for name, fact in list(vars(cls).items()):
            if name.startswith("test_") and len(inspect.signature(fact).parameters) == 2:
                delattr(cls, name)
                for way, transports in TRANSPORTS.items():
                    over = functools.partialmethod(fact, transports)
                    setattr(cls, f"{name}_over_{way.replace(', ', '_').replace(' ', '_')}", over)

    @classmethod
    def setUpClass(cls):
        cls.service = Service()
        cls.addClassCleanup(cls.service.close)

    def client(self):
        """A client that is not connected yet."""
        client = Client()
        # It leaves beside the next test: it waits until the server has closed its end, up to a second.
        self.addCleanup(lambda: threading.Thread(target=client.shutdown, daemon=True).start())
        return client

    def connect(self, transports, key=WIDGET, query="?tenantId=demo", headers=None, **auth):
        """A client that is let in."""
        client = self.client()
        credential = {"token": key} if key else {}
        client.connect(
            self.service.url + query,
            headers=headers or {},
            auth={**credential, **auth},
            transports=transports,
            wait_timeout=10,
        )
        until("it has its last transport", lambda: client.transport() == transports[-1])
        return client

    def assert_problem(self, problem, code):
        """Checks that something has the shape of an error; returns its details."""
        self.assertEqual(sorted(problem), ["code", "details", "error"], problem)
        self.assertEqual(problem["code"], code)
        self.assertIsInstance(problem["details"], dict)
        return problem["details"]
