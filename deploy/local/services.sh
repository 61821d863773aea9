# Private PostgreSQL 15 and Redis 7 on unix sockets, for one person's machine and for the tests. Sourced, not run.
#
#   services_start_postgres DATA RUN LOG [SETTING=VALUE ...]   makes the cluster when DATA is empty, waits till it answers
#   services_start_redis DATA RUN LOG
#   services_stop_postgres DATA RUN     services_stop_redis RUN
#   services_database_url RUN           services_application_url RUN           services_redis_socket RUN
#
# RUN holds the sockets and pid files; keep it short (services_check_run), a socket's path has 107 bytes. PostgreSQL
# refuses to run as root, so root runs both as an unprivileged user, who must be able to reach DATA and RUN. No TCP port
# is opened, and the machine's own clusters are left alone. The role `finetuned` owns the database, may create more, and
# is no superuser: row-level security binds it. `finetuned_app` owns nothing: the platform runs as it, with what
# `finetuned migrate` grants.

services_postgres_bin=${FINETUNED_POSTGRES_BIN:-/usr/lib/postgresql/15/bin}

services_fail() {
  echo "services: $*" >&2
  return 1
}

# The account the servers run under: ours, or for root an unprivileged one.
services_user() {
  if [ "$(id -u)" -ne 0 ]; then
    id -un
  elif id postgres >/dev/null 2>&1; then
    echo postgres
  else
    echo nobody
  fi
}

# Runs a command as that account, in its own session (a Ctrl-C meant for us does not reach it), keeping its pid.
services_as_user() {
  if [ "$(id -u)" -ne 0 ]; then
    exec setsid "$@"
  else
    local user
    user=$(services_user)
    exec setsid setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups -- "$@"
  fi
}

services_check_run() {
  local longest="$1/.s.PGSQL.5432.lock"
  [ "${#longest}" -le 100 ] || services_fail "$1 is too long for a unix socket's path: choose a shorter directory"
}

# Makes a directory that only the servers' account (and root) may enter.
services_private_directory() {
  mkdir -p "$1" && chmod 700 "$1" || return 1
  if [ "$(id -u)" -eq 0 ]; then
    chown "$(services_user)" "$1" || return 1
    (services_as_user ls "$1" >/dev/null 2>&1) || services_fail "$(services_user) cannot reach $1: a parent directory is closed to it"
  fi
}

services_database_url() {
  echo "postgresql:///finetuned?host=$1&user=finetuned"
}

services_application_url() {
  echo "postgresql:///finetuned?host=$1&user=finetuned_app"
}

services_redis_socket() {
  echo "$1/redis.sock"
}

# The pid in a file, when that process still runs and has WORD in its command line.
services_live_pid() {
  local pid
  pid=$(cat "$1" 2>/dev/null) && [ -n "$pid" ] || return 1
  tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF -- "$2" || return 1
  echo "$pid"
}

services_psql() {
  (services_as_user "$services_postgres_bin/psql" -X -q -v ON_ERROR_STOP=1 -h "$1" -U services -d "$2" -At -c "$3")
}

# initdb works beside DATA: one that is killed half-way leaves no cluster that looks whole.
services_make_cluster() {  # DATA LOG
  local data=$1 log=$2 made
  services_private_directory "$data" || return 1
  [ ! -e "$data/PG_VERSION" ] || return 0
  rm -rf "$data".new.* 2>/dev/null || true  # a killed start's initdb may still write there: the next start's turn
  made=$(mktemp -d "$data.new.XXXXXX") && services_private_directory "$made" || return 1
  (services_as_user "$services_postgres_bin/initdb" -D "$made" -U services -A trust -E UTF8 --locale=C.UTF-8 -N) \
    >>"$log" 2>&1 || { services_fail "initdb failed: see $log"; return 1; }
  rmdir "$data" && mv "$made" "$data"
}

services_run_postgres() {  # DATA RUN LOG [SETTING=VALUE ...]
  local data=$1 run=$2 log=$3 setting
  shift 3
  local settings=(-c listen_addresses= -c unix_socket_permissions=0700 -c max_connections=200)
  for setting in "$@"; do settings+=(-c "$setting"); done
  (services_as_user "$services_postgres_bin/postgres" -D "$data" -k "$run" "${settings[@]}") >>"$log" 2>&1 </dev/null &
  echo $! >"$run/postgres.pid"
}

services_start_postgres() {
  local data=$1 run=$2 log=$3 pid tries=0
  if ! services_live_pid "$run/postgres.pid" "$data" >/dev/null; then
    [ -x "$services_postgres_bin/postgres" ] ||
      { services_fail "no PostgreSQL 15 in $services_postgres_bin: apt install postgresql-15"; return 1; }
    services_check_run "$run" && services_private_directory "$run" && services_make_cluster "$data" "$log" || return 1
    services_run_postgres "$@" || return 1
  fi
  pid=$(cat "$run/postgres.pid")
  until services_psql "$run" postgres 'SELECT 1' >/dev/null 2>&1; do
    kill -0 "$pid" 2>/dev/null || { services_fail "PostgreSQL stopped: see $log"; return 1; }
    tries=$((tries + 1))
    [ "$tries" -le 300 ] || { services_fail "PostgreSQL does not answer after 60 s: see $log"; return 1; }
    sleep 0.2
  done
  # Of a running one too: whoever started it may have been killed before it came to this.
  services_make_once "$run" "SELECT 1 FROM pg_roles WHERE rolname = 'finetuned'" \
    'CREATE ROLE finetuned LOGIN CREATEDB NOSUPERUSER NOBYPASSRLS' || return 1
  services_make_once "$run" "SELECT 1 FROM pg_roles WHERE rolname = 'finetuned_app'" \
    'CREATE ROLE finetuned_app LOGIN NOSUPERUSER NOBYPASSRLS' || return 1
  services_make_once "$run" "SELECT 1 FROM pg_database WHERE datname = 'finetuned'" \
    'CREATE DATABASE finetuned OWNER finetuned' || return 1
}

# Runs STATEMENT unless QUERY finds what it makes. The statement of a start that was killed may still be under way in the
# server: where ours fails, and the thing is there then, that one made it.
services_make_once() {  # RUN QUERY STATEMENT
  local said
  [ -z "$(services_psql "$1" postgres "$2")" ] || return 0
  said=$(services_psql "$1" postgres "$3" 2>&1) && return 0
  [ -n "$(services_psql "$1" postgres "$2")" ] || services_fail "$said"
}

services_start_redis() {
  local data=$1 run=$2 log=$3
  services_live_pid "$run/redis.pid" redis-server >/dev/null && return 0
  command -v redis-server >/dev/null || { services_fail "no redis-server: apt install redis-server"; return 1; }
  services_check_run "$run" && services_private_directory "$run" && services_private_directory "$data" || return 1
  rm -f "$run/redis.sock"
  (services_as_user redis-server --port 0 --unixsocket "$run/redis.sock" --unixsocketperm 700 --dir "$data" \
    --save '' --appendonly no --daemonize no) >>"$log" 2>&1 </dev/null &
  local pid=$!
  echo "$pid" >"$run/redis.pid"
  local tries=0
  until [ "$(redis-cli -s "$run/redis.sock" ping 2>/dev/null)" = PONG ]; do
    kill -0 "$pid" 2>/dev/null || { services_fail "Redis stopped: see $log"; return 1; }
    tries=$((tries + 1))
    [ "$tries" -le 150 ] || { services_fail "Redis does not answer after 30 s: see $log"; return 1; }
    sleep 0.2
  done
}

# services_stop PIDFILE WORD SIGNAL: asks, waits up to 20 s, then forces.
services_stop() {
  local pid tries=0
  pid=$(services_live_pid "$1" "$2") || { rm -f "$1"; return 0; }
  kill -"$3" "$pid" 2>/dev/null
  while kill -0 "$pid" 2>/dev/null && [ "$(cut -d' ' -f3 "/proc/$pid/stat" 2>/dev/null)" != Z ]; do
    tries=$((tries + 1))
    if [ "$tries" -gt 200 ]; then
      kill -KILL "$pid" 2>/dev/null
      break
    fi
    sleep 0.1
  done
  rm -f "$1"
}

services_stop_postgres() { services_stop "$2/postgres.pid" "$1" INT; }  # INT: fast shutdown
services_stop_redis() { services_stop "$1/redis.pid" redis-server TERM; }
