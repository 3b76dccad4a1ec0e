"""The real program on a data directory of its own, as the Python tests use it.

It can be stopped and started again on the same port. Closing it fails when it has ended by itself or
has written an error or a panic to its log.
"""

import atexit
import json
import os
import random
import shutil
import subprocess
import tempfile
import threading
import time
import uuid

import requests

WIDGET = "wk_demo_0000000000000000"
SECRET = "sk_demo_0000000000000000"

BASICS = {
    "AMOIQ__OPERATOR__BIND": "127.0.0.1:0",
    "AMOIQ__SERVER__WORKERS": "2",
    "AMOIQ__RATE_LIMIT__HTTP_PER_MINUTE": "0",
    "AMOIQ__RATE_LIMIT__SOCKET_PER_SECOND": "0",
    "AMOIQ__LOG__FORMAT": "json",
    "AMOIQ__WEBHOOKS__ALLOWED_NETWORKS": "127.0.0.0/8",
    # A client that is refused over polling sometimes forgets to say that it leaves, and waits for a ping.
    "AMOIQ__REALTIME__PING_INTERVAL_MS": "2000",
}

PATIENCE_SECONDS = 15


def until(what, condition, patience_seconds=PATIENCE_SECONDS):
    """Waits until a condition holds, and returns its result."""
    deadline = time.monotonic() + patience_seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {patience_seconds} s in vain until {what}")
        time.sleep(0.005)


def new_session():
    """A session's id as the widget makes them."""
    return f"session-{int(time.time() * 1000)}-{uuid.uuid4().hex[:24]}"


def log_settings():
    """Where the log is: in a log of its own in the database that AMOIQ_TEST_POSTGRES or AMOIQ_TEST_KURRENTDB names, else in
    the data directory."""
    for backend in ("postgres", "kurrentdb"):
        url = os.environ.get(f"AMOIQ_TEST_{backend.upper()}")
        if url:
            return {
                "AMOIQ__STORE__BACKEND": backend,
                "AMOIQ__STORE__URL": url,
                "AMOIQ__STORE__SCHEMA": f"interop_{uuid.uuid4().hex}",
            }
    return {}


class Service:
    """One running service."""

    def __init__(self):
        self.log_settings = log_settings()
        self.directory = tempfile.mkdtemp(prefix="amoiq-interop-")
        self.lines = []
        self.process = None
        atexit.register(self._kill)
        for _ in range(50):
            # Below the ports that the system gives to clients: nobody takes it while the service is away.
            self.port = random.randrange(15_000, 30_000)
            try:
                self.start()
                return
            except RuntimeError as error:
                if "in use" not in str(error):
                    raise
        raise RuntimeError("no port is free")

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        """Starts it, on the same port and data as before."""
        environment = {
            **os.environ,
            **BASICS,
            **self.log_settings,
            "AMOIQ__STORE__PATH": os.path.join(self.directory, "data"),
            "AMOIQ__SERVER__BIND": f"127.0.0.1:{self.port}",
        }
        begin = len(self.lines)
        self.process = subprocess.Popen(
            [os.environ["AMOIQ_PROGRAM"]],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        process, lines = self.process, self.lines
        reader = threading.Thread(target=lambda: lines.extend(process.stdout), daemon=True)
        reader.start()

        def said(words):
            return any(words in line for line in lines[begin:])

        until("the service listens or ends", lambda: said("listens on") or process.poll() is not None)
        if process.poll() is not None:
            reader.join()
            raise RuntimeError(f"the service did not start: {''.join(lines[begin:])}")

    def end(self):
        """Ends it as an operator does, and waits."""
        self.process.terminate()
        code = self.process.wait(timeout=10)
        if code != 0:
            raise AssertionError(f"the service ended with {code}: {''.join(self.lines)}")

    def close(self):
        """Ends it for good, after a check of its log."""
        ended = self.process.poll() is not None
        self._kill()
        bad = [line for line in self.lines if '"level":"ERROR"' in line or "panicked at" in line]
        if ended or bad:
            raise AssertionError(f"the service is gone, or wrote errors: {''.join(bad or self.lines)}")

    def _kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def request(self, method, path, key=SECRET, **more):
        """The JSON that a request is answered with."""
        headers = {"Authorization": f"Bearer {key}"}
        answer = requests.request(method, self.url + path, headers=headers, timeout=PATIENCE_SECONDS, **more)
        if not answer.ok:
            raise AssertionError(f"{method} {path}: {answer.status_code} {answer.text}")
        return json.loads(answer.text)

    def post(self, text, session):
        """Posts a message as an agent."""
        return self.request("POST", "/webchat/message", json={"text": text, "sessionId": session})

    def history(self, session):
        """The texts of a session."""
        path = f"/api/chat/messages?tenantId=demo&sessionId={session}"
        return [message["text"] for message in self.request("GET", path)["messages"]]
