# A PostgreSQL for one script, to be sourced: in a folder that is given, on a free port of the loopback address, with its own
# defaults, so every commit is flushed. `start_postgres FOLDER` sets POSTGRES_URL, PGHOST, PGPORT, PGUSER and PGDATABASE;
# `stop_postgres` ends it. Whoever sources this stops it in the end.

POSTGRES_PID=
postgres_programs=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
[ -x "$postgres_programs/initdb" ] || postgres_programs=$(dirname "$(command -v initdb)")

start_postgres() { # folder
  local folder=$1 unprivileged=()
  export PGHOST=127.0.0.1 PGPORT PGUSER=amoiq PGDATABASE=postgres
  PGPORT=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  rm -rf "$folder"
  mkdir -p "$folder"
  # PostgreSQL does not run as root.
  if [ "$(id -u)" = 0 ]; then
    chown nobody "$folder"
    unprivileged=(setpriv --reuid=nobody --clear-groups)
  fi
  POSTGRES_URL=postgres://amoiq@127.0.0.1:$PGPORT/postgres
  (cd "$folder" && "${unprivileged[@]}" "$postgres_programs/initdb" -D "$folder/data" -U amoiq -E UTF8 --locale=C -A trust) >"$folder/log"
  (cd "$folder" && exec "${unprivileged[@]}" "$postgres_programs/postgres" -D "$folder/data" -h "$PGHOST" -k "$folder") >>"$folder/log" 2>&1 &
  POSTGRES_PID=$!
  until "$postgres_programs/pg_isready" -q; do
    kill -0 "$POSTGRES_PID" || { cat "$folder/log" >&2; return 1; }
    sleep 0.1
  done
}

stop_postgres() {
  if [ -n "$POSTGRES_PID" ]; then
    kill -QUIT "$POSTGRES_PID" 2>/dev/null || true
    wait "$POSTGRES_PID" 2>/dev/null || true
    POSTGRES_PID=
  fi
}
