# Servers for one script, to be sourced: nodes of amoiq and others, on ports from 4099, each with a log of what it printed in
# $folder, which goes in the end with everything else. A release build (AMOIQ_PROGRAM) is needed. `build_peers PROFILE` builds the
# peers in Rust and the load generator, which is $load then.

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

# Everybody comes from one address here.
start_amoiq() { # settings
  start env AMOIQ__OPERATOR__BIND=127.0.0.1:0 AMOIQ__LOG__LEVEL=warn AMOIQ__RATE_LIMIT__HTTP_PER_MINUTE=0 \
    AMOIQ__RATE_LIMIT__SOCKET_PER_SECOND=0 AMOIQ__REALTIME__CONNECTIONS_PER_IP=0 \
    AMOIQ__AUTH__JWT_SECRET='one secret that every node has' "$@" "$program"
}

start_node() { start_amoiq AMOIQ__STORE__BACKEND=postgres AMOIQ__STORE__URL="$POSTGRES_URL" AMOIQ__CLUSTER__NODE="$1"; }

build_peers() { # cargo's profile
  cargo build --locked --manifest-path "$benches/peers/rust/Cargo.toml" --target-dir "$benches/peers/rust/target" --profile "$1"
  rust=$benches/peers/rust/target/${1/dev/debug} load=$benches/peers/rust/target/${1/dev/debug}/load
}

install_express() {
  cp -r "$benches/peers/express" "$folder/express"
  (cd "$folder/express" && npm ci --silent --no-audit --no-fund)
}

# Starts a peer with what it needs, on nothing that was there before.
serve() { # the peer
  local address node
  case $1 in postgres | three | express | rust-postgres | rust-grouped) start_postgres "$folder/database" ;; esac
  case $1 in
    sqlite) start_amoiq ;;
    postgres) start_node a ;;
    three) for node in a b c; do start_node "$node"; done ;;
    kurrentdb)
      coproc KURRENTDB { exec "${AMOIQ_KURRENTDB_SERVER:-$benches/../target/release/examples/kurrentdb_server}"; }
      read -r address <&"${KURRENTDB[0]}"
      start_amoiq AMOIQ__STORE__BACKEND=kurrentdb AMOIQ__STORE__URL="$address"
      ;;
    express) start env NODE_ENV=production node "$folder/express/server.mjs" ;;
    rust-postgres) start env DATABASE_URL="$POSTGRES_URL" "$rust/peer" postgres ;;
    rust-grouped) start env DATABASE_URL="$POSTGRES_URL" "$rust/peer" postgres-grouped ;;
    rust-sqlite) start env DATABASE_PATH="$folder/data-messages.db" "$rust/peer" sqlite ;;
    *) echo "$1 is no peer" >&2; return 1 ;;
  esac
}

end_service() {
  stop
  if [ -n "${KURRENTDB_PID:-}" ]; then kill "$KURRENTDB_PID"; wait "$KURRENTDB_PID" 2>/dev/null || true; fi
  stop_postgres
  rm -rf "$folder"/data-*
}

# The load generator against what is served, with the processor time of the database.
put_load() { # the kind of load, and its options
  local target=() pid port
  for port in "${ports[@]}"; do target+=(--url "http://127.0.0.1:$port"); done
  for pid in "${servers[@]}" $POSTGRES_PID; do target+=(--pid "$pid"); done
  "$load" "$@" "${target[@]}"
}
