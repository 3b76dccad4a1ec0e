#!/usr/bin/env bash
# nginx: every byte that the CLIENT sends restarts `proxy_read_timeout` of a websocket.
#
# Its documentation says that it is "set only between two successive read operations" of the proxied server. So one
# would expect that a server which hangs is noticed after that time whatever its clients do. It is not: a client that
# keeps sending holds the connection to a silent server open for ever.
#
# For users of this project: nginx does not notice a service that hangs as long as widgets send; the clients do, by the
# heartbeat (realtime.ping_interval_ms + realtime.ping_timeout_ms, 45 s). See Behind a proxy in docs/operations/reference.md.
#
# Needs nginx (Debian: `apt-get install nginx-light`) and python3. Exits 1 when nginx behaves otherwise.
set -euo pipefail
PATH=$PATH:/usr/sbin
command -v nginx >/dev/null || { echo 'nginx is missing'; exit 2; }
nginx -v 2>&1
exec python3 - <<'PYTHON'
import os, pathlib, select, socket, subprocess, sys, tempfile, threading, time

TIMEOUT_S, WATCHED_S = 2, 8


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def serve_silently(listener):
    """Agrees to every upgrade, and says nothing from then on."""
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=upgrade, args=(connection,), daemon=True).start()


def upgrade(connection):
    head = b""
    while b"\r\n\r\n" not in head:
        head += connection.recv(4096)
    connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
    while connection.recv(4096):
        pass


def open_for(port, sends):
    """How long a client's connection stays open, in seconds; it is watched for WATCHED_S."""
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
    assert client.recv(4096).startswith(b"HTTP/1.1 101")
    since = time.monotonic()
    while (age := time.monotonic() - since) < WATCHED_S:
        if sends:
            client.sendall(b"\x89\x80\0\0\0\0")  # an empty ping
        if select.select([client], [], [], 0.5)[0] and client.recv(4096) == b"":
            return age
    return WATCHED_S


with tempfile.TemporaryDirectory() as place:
    os.chmod(place, 0o755)
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve_silently, args=(listener,), daemon=True).start()
    port = free_port()
    temporary = "".join(f"{name}_temp_path {place}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    config = pathlib.Path(place, "nginx.conf")
    config.write_text(f"""
        daemon off; pid {place}/pid; worker_processes 1; events {{ }}
        http {{ access_log off; {temporary}
          server {{ listen 127.0.0.1:{port};
            location / {{ proxy_pass http://127.0.0.1:{listener.getsockname()[1]}; proxy_http_version 1.1;
              proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;
              proxy_read_timeout {TIMEOUT_S}s; }} }} }}""")
    nginx = subprocess.Popen(["nginx", "-p", place, "-e", f"{place}/errors", "-c", str(config)])
    try:
        for _ in range(100):
            if socket.socket().connect_ex(("127.0.0.1", port)) == 0:
                break
            time.sleep(0.05)
        silent, sending = open_for(port, False), open_for(port, True)
    finally:
        nginx.terminate()
        nginx.wait()

print(f"proxy_read_timeout {TIMEOUT_S}s; the server behind is silent; watched for {WATCHED_S} s")
print(f"a client that is silent:  closed after {silent:.1f} s")
print(f"a client that sends:      {'still open' if sending == WATCHED_S else f'closed after {sending:.1f} s'}")
sys.exit(not (silent < WATCHED_S and sending == WATCHED_S))
PYTHON
