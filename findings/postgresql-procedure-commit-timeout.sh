#!/usr/bin/env bash
# PostgreSQL 15: `statement_timeout` ends the wait for a synchronous standby, with success, if a procedure commits by itself.
#
# A plain statement waits for its standby without limit: its time-out is over before it commits, and that wait is well known to
# ignore it. One would expect the same of a procedure that commits (a way to keep a lock from being held while a client is
# slow). But the time-out of the CALL still runs at its COMMIT. The wait is cancelled with a WARNING, the CALL succeeds, and
# everybody sees a row that no standby has: a failover loses it after it was acknowledged.
#
# For users of this project: its appends are such a procedure, so its sessions have no `statement_timeout` of the server, only
# deadlines of their own. Nothing that sits in between may set one. See docs/decisions/0025-postgres-log.md.
#
# Needs PostgreSQL (Debian: `apt-get install postgresql`). Exits 1 when PostgreSQL behaves otherwise.
set -euo pipefail
programs=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
[ -x "$programs/initdb" ] || { echo 'PostgreSQL is missing'; exit 2; }
folder=$(mktemp -d)
chmod 755 "$folder"
as=()
# PostgreSQL does not run as root.
if [ "$(id -u)" = 0 ]; then
  chown nobody "$folder"
  as=(setpriv --reuid=nobody --clear-groups)
fi
cd "$folder"
"${as[@]}" "$programs/initdb" -D data -U me -A trust >log
"${as[@]}" "$programs/pg_ctl" -D data -w -l server.log -o "-c listen_addresses= -k $folder" start >log
trap '"${as[@]}" "$programs/pg_ctl" -D data -m immediate stop >log; rm -rf "$folder"' EXIT
ask() { "$programs/psql" -h "$folder" -U me -qtA -d postgres -c "$1"; }
"$programs/postgres" --version
ask 'CREATE TABLE rows (name text)'
ask "CREATE PROCEDURE add(name text) LANGUAGE plpgsql AS 'BEGIN INSERT INTO rows VALUES (name); COMMIT; END'"
ask "ALTER SYSTEM SET synchronous_standby_names = 'nobody'"
ask 'ALTER SYSTEM SET statement_timeout = 2000'
ask 'SELECT pg_reload_conf()' >log
until [ "$(ask 'SHOW synchronous_standby_names')" = nobody ]; do sleep 0.1; done

# How a statement ends that waits for a standby which does not exist, watched for 6 s.
watch() { # statement
  local since=$SECONDS code=0
  timeout 6 "$programs/psql" -h "$folder" -U me -qtA -d postgres -c "$1" 2>notice || code=$?
  case $code in
    124) echo waits ;;
    0) echo "success after $((SECONDS - since)) s" ;;
    *) echo "failure $code" ;;
  esac
}
plain=$(watch "INSERT INTO rows VALUES ('plain')")
procedure=$(watch "CALL add('procedure')")
seen=$(ask "SELECT string_agg(name, ' ' ORDER BY name) FROM rows")
echo "statement_timeout 2 s, a standby that does not exist; each watched for 6 s"
echo "INSERT:                     $plain"
echo "CALL of one that commits:   $procedure; $(head -n 1 notice)"
echo "rows that others see:       $seen"
[ "$plain" = waits ] && [[ $procedure = success* ]] && [ "$seen" = procedure ]
