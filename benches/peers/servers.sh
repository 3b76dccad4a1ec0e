# Servers for one script, to be sourced: nodes of amoiq and others, on ports from 4099, each with a log of what it printed in
# $folder, which goes in the end with everything else. A release build (AMOIQ_PROGRAM) is needed.

benches=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
program=$(realpath -m "${AMOIQ_PROGRAM:-$benches/../target/release/amoiq}")
folder=$(mktemp -d "${AMOIQ_BENCH_DIR:-${TMPDIR:-/tmp}}/amoiq-peers.XXXXXX")
servers=() ports=()
stop() {
  if [ ${#servers[@]} -gt 0 ]; then
    kill "${servers[@]}" 2>/dev/null || true
    wait "${servers[@]}" 2>/dev/null || true
  fi
  servers=() ports=()
}
# shellcheck source=tests/postgres/server.sh
. "$benches/../tests/postgres/server.sh"
chmod 711 "$folder"
trap 'stop; stop_postgres; rm -rf "$folder"' EXIT

await_server() { # port
  until grep -q 'listens on' "$folder/$1.log"; do
    kill -0 "${servers[-1]}" || { cat "$folder/$1.log"; exit 1; }
    sleep 0.05
  done
}

# A server on the next port, with what follows in its environment.
start() { # the command
  local port=$((4099 + ${#servers[@]}))
  : >"$folder/$port.log"
  AMOIQ__SERVER__BIND=127.0.0.1:$port AMOIQ__STORE__PATH=$folder/data-$port PORT=$port "$@" >"$folder/$port.log" 2>&1 &
  servers+=($!) ports+=("$port")
  await_server "$port"
}

start_amoiq() { # settings
  start env AMOIQ__OPERATOR__BIND=127.0.0.1:0 AMOIQ__LOG__LEVEL=warn AMOIQ__RATE_LIMIT__HTTP_PER_MINUTE=0 \
    AMOIQ__AUTH__JWT_SECRET='one secret that every node has' "$@" "$program"
}

start_node() { start_amoiq AMOIQ__STORE__BACKEND=postgres AMOIQ__STORE__URL="$POSTGRES_URL" AMOIQ__CLUSTER__NODE="$1"; }

# Clock ticks (1/100 s) of processor time of the servers, and of the database with its sessions.
ticks() {
  local pid
  for pid in "${servers[@]}" $(pgrep -P "$POSTGRES_PID"); do cat "/proc/$pid/stat" 2>/dev/null || true; done |
    awk '{sum += $14 + $15} END {print sum}'
}
