"""A PostgreSQL in a temporary folder, which can be stopped, killed and started again, and the ways to it.

Standard library only. As root the server runs as `nobody`: PostgreSQL refuses root.
"""

import glob
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

PATIENCE_SECONDS = 60


def programs():
    """The folder of PostgreSQL's programs; Debian has them outside of PATH."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(path.split("/")[-2]))
    if found:
        return found[-1]
    inside = shutil.which("initdb")
    return os.path.dirname(inside) if inside else sys.exit("PostgreSQL 15 or newer is not installed")


def free_port():
    """A port that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Database:
    """A server with PostgreSQL's own defaults: every commit is flushed."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.port = free_port()
        self.process = None
        self.user = ["setpriv", "--reuid=nobody", "--clear-groups"] if os.getuid() == 0 else []
        if self.user:
            shutil.chown(self.folder, "nobody")
        made = [f"{programs()}/initdb", "-D", f"{self.folder}/data", "-U", "amoiq", "-E", "UTF8", "--locale=C", "-A", "trust"]
        subprocess.run([*self.user, *made], check=True, stdout=subprocess.DEVNULL, cwd=self.folder)
        self.start()

    def start(self):
        """Starts it and waits until it takes connections."""
        command = [f"{programs()}/postgres", "-D", f"{self.folder}/data", "-p", str(self.port), "-h", "127.0.0.1", "-k", str(self.folder)]
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen([*self.user, *command], stdout=log, stderr=log, cwd=self.folder)
        ready = [f"{programs()}/pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        deadline = time.monotonic() + PATIENCE_SECONDS
        while subprocess.run(ready, check=False).returncode != 0:
            assert time.monotonic() < deadline, "the database does not start"
            time.sleep(0.1)

    def crash(self):
        """Ends all of it at once, as a crash of its machine would but for the disk."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(PATIENCE_SECONDS)

    def pause(self, is_paused):
        """Stops every process of it where it is, or lets them go on."""
        pids = [self.process.pid]
        listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True, check=False)
        for pid in pids + [int(pid) for pid in listed.stdout.split()]:
            try:
                os.kill(pid, signal.SIGSTOP if is_paused else signal.SIGCONT)
            except ProcessLookupError:
                pass

    def close(self):
        """Ends it for good."""
        if self.process and self.process.poll() is None:
            self.pause(False)
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait()


class Way:
    """The way of one node to the database, which can become a black hole: nothing passes and nothing is closed."""

    def __init__(self, port):
        self.to = port
        self.is_open = threading.Event()
        self.is_open.set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def heal(self):
        """Lets everything pass again, what waited too."""
        self.is_open.set()

    def cut(self):
        """Lets nothing pass any more."""
        self.is_open.clear()

    def _accept(self):
        while True:
            client, _ = self.listener.accept()
            threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client):
        self.is_open.wait()
        try:
            server = socket.create_connection(("127.0.0.1", self.to))
        except OSError:
            client.close()
            return
        for source, target in ((client, server), (server, client)):
            source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._pass, args=(source, target), daemon=True).start()

    def _pass(self, source, target):
        try:
            while data := source.recv(65536):
                self.is_open.wait()
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
