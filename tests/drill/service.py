"""The built program on a data directory: run as the service, and as an operator's commands.

Standard library only. Every process that is started here is ended by its own id in `close`.
"""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
from pathlib import Path

PATIENCE_SECONDS = 30

SETTINGS = {
    "SERVER__BIND": "127.0.0.1:0",
    "SERVER__WORKERS": "2",
    "OPERATOR__BIND": "127.0.0.1:0",
    "LOG__FORMAT": "json",
    "RATE_LIMIT__HTTP_PER_MINUTE": "0",
    "RATE_LIMIT__SECRET_KEY_PER_MINUTE": "0",
    "PRESENCE__OFFLINE_GRACE_MS": "100",
    "WEBHOOKS__ALLOWED_NETWORKS": "127.0.0.0/8",
    "WEBHOOKS__SCHEDULE_MS": "0,100,200,400,800",
}


class Wrong(Exception):
    """A check failed."""


def check(holds, what):
    """Ends the run at the first failed check."""
    if not holds:
        raise Wrong(what)


def until(what, condition, patience_seconds=PATIENCE_SECONDS):
    """Waits until a condition holds, and returns its result."""
    deadline = time.monotonic() + patience_seconds
    while True:
        result = condition()
        if result:
            return result
        check(time.monotonic() < deadline, f"waited {patience_seconds} s in vain until {what}")
        time.sleep(0.01)


def program():
    """The program under test: AMOIQ_PROGRAM, else the debug build."""
    root = Path(__file__).resolve().parents[2]
    target = Path(os.environ.get("CARGO_TARGET_DIR", root / "target"))
    path = Path(os.environ.get("AMOIQ_PROGRAM", target / "debug" / "amoiq")).absolute()
    if not os.access(path, os.X_OK):
        sys.exit(f"{path} does not exist: build it (cargo build --bin amoiq) or set AMOIQ_PROGRAM")
    return str(path)


def environment(data):
    """The program's environment, without the caller's own settings of amoiq."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("AMOIQ__")}
    told = {f"AMOIQ__{key}": value for key, value in SETTINGS.items()}
    return {**kept, **told, "AMOIQ__STORE__PATH": str(data)}


def amoiq(data, *arguments):
    """Runs a command; returns its exit code and what it printed to both outputs."""
    done = subprocess.run(
        [program(), *map(str, arguments)],
        env=environment(data),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_SECONDS,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def printed(data, *arguments):
    """The output of a command, which has to succeed."""
    code, out, said = amoiq(data, *arguments)
    check(code == 0, f"`amoiq {' '.join(map(str, arguments))}` ended with {code}: {said or out}")
    return out


def answer(data, *arguments):
    """The JSON of a command, which has to succeed."""
    return json.loads(printed(data, *arguments, "--json"))


class Client:
    """One connection to a service, with a key."""

    def __init__(self, address, key):
        self.connection = http.client.HTTPConnection(address, timeout=PATIENCE_SECONDS)
        self.headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def ask(self, method, path, body=None):
        """The status and JSON of an answer."""
        sent = None if body is None else json.dumps(body)
        self.connection.request(method, path, sent, self.headers)
        response = self.connection.getresponse()
        text = response.read()
        return response.status, json.loads(text) if text else None

    def must(self, method, path, body=None):
        """The JSON of an answer, which has to be a success."""
        status, answered = self.ask(method, path, body)
        check(200 <= status < 300, f"{method} {path}: {status} {answered}")
        return answered

    def history(self, session):
        """Every message of a session, the oldest first."""
        messages, cursor = [], ""
        while True:
            query = {"sessionId": session, "limit": 100, **({"cursor": cursor} if cursor else {})}
            page = self.must("GET", f"/api/chat/messages?{urllib.parse.urlencode(query)}")
            messages = page["messages"] + messages
            if not page["hasMore"]:
                return messages
            cursor = page["nextCursor"]


class Service:
    """A running service."""

    def __init__(self, data, *arguments, settings=None, program_path=None):
        self.data = data
        self.lines = []
        self.address = None
        self.process = subprocess.Popen(
            [program_path or program(), *map(str, arguments)],
            env={**environment(data), **{f"AMOIQ__{key}": value for key, value in (settings or {}).items()}},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        try:
            until("the service listens or ends", lambda: self.address or self.process.poll() is not None)
            if not self.address:
                self.reader.join(PATIENCE_SECONDS)
                raise Wrong(f"the service did not start: {''.join(self.lines)}")
        except Wrong:
            self.close()
            raise

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line)
            if self.address is None and "listens on http://" in line:
                rest = line.split("listens on http://", 1)[1]
                self.address = rest.split('"', 1)[0].strip()

    def kill(self):
        """Kills it: like a power cut, except for the disk."""
        check(self.process.poll() is None, f"the service ended by itself: {''.join(self.lines[-20:])}")
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE_SECONDS)
        self.reader.join(PATIENCE_SECONDS)
        self._look()

    def stop(self):
        """Stops it as an operator does."""
        self.process.terminate()
        code = self.process.wait(PATIENCE_SECONDS)
        self.reader.join(PATIENCE_SECONDS)
        check(code == 0, f"the service ended with {code}: {''.join(self.lines[-20:])}")
        self._look()

    def close(self):
        """Ends it if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def _look(self):
        bad = [line for line in self.lines if '"level":"ERROR"' in line or "panicked at" in line]
        check(not bad, f"the service wrote errors: {''.join(bad)}")
