# shellcheck shell=bash
# One private platform under a directory: PostgreSQL, Redis and `finetuned serve`. Sourced by up, down and the tests.
#
#   platform_at DIR            sets the variables below for the platform kept in DIR (made when it is not there)
#   platform_start PORT        starts what is not running; returns when /readyz answers 200
#   platform_stop              drains and stops everything; DIR stays
#   platform_environment       KEY=VALUE lines: what clients need, and operators (`finetuned models import`, `admin`)
#
# DIR: postgres/ redis/ data/ (datasets, models, adapters) log/ run/ (sockets, pid files) finetuned.toml keys

# shellcheck source=deploy/local/services.sh
. "$(dirname "${BASH_SOURCE[0]}")/services.sh"

platform_repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
platform_program=$platform_repo/build/release/finetuned
platform_ready_seconds=60
platform_drain_seconds=40  # the supervisor's own deadline is 30 s

platform_say() { printf '%s\n' "$*" >&2; }

platform_at() {
  mkdir -p "$1" "$1/log" || return 1
  platform_dir=$(cd "$1" && pwd -P)
  platform_config=$platform_dir/finetuned.toml
  platform_keys=$platform_dir/keys
  platform_log=$platform_dir/log/finetuned.log
  platform_open_closed_parents
  platform_choose_run
}

# A unix socket's path has 107 bytes: where DIR is too deep, the sockets live in a short directory of their own, which
# DIR/run_directory names.
platform_choose_run() {
  platform_run=$platform_dir/run
  if services_check_run "$platform_run" 2>/dev/null; then return; fi
  platform_run=$(cat "$platform_dir/run_directory" 2>/dev/null || true)
  if [ ! -d "$platform_run" ]; then
    platform_run=$(mktemp -d)
    echo "$platform_run" >"$platform_dir/run_directory"
  fi
}

# Root's servers run as an unprivileged account. A checkout in root's own home is closed to it; there it may look
# through closed directories, and still write nothing but its own files.
platform_open_closed_parents() {
  [ "$(id -u)" = 0 ] || return 0
  if (services_as_user ls "$platform_dir" "$platform_repo" >/dev/null 2>&1); then return; fi
  services_as_user() {
    local user
    user=$(services_user)
    exec setsid setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups \
      --inh-caps=+dac_read_search --ambient-caps=+dac_read_search -- "$@"
  }
}

# HTTP status of GET http://127.0.0.1:PORT/PATH, 000 without an answer; needs no program beside bash.
platform_http_status() {
  local line=
  { exec 8<>"/dev/tcp/127.0.0.1/$1"; } 2>/dev/null || { echo 000; return; }
  printf 'GET %s HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nConnection: close\r\n\r\n' "$2" "$1" >&8
  IFS= read -r -t 5 line <&8 || true
  exec 8>&-
  line=${line#HTTP/1.1 }
  line=${line%% *}
  echo "${line:-000}"
}

platform_port_in_use() { [ "$(platform_http_status "$1" /healthz)" != 000 ] || (: <>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

platform_serve_pid() { services_live_pid "$platform_run/finetuned.pid" "$platform_config"; }

platform_port() { sed -n 's/^port = \([0-9]*\)$/\1/p' "$platform_config" 2>/dev/null; }

# Without `&` and quotes, so that a shell can eval the line that shows it.
platform_database_url() { echo "postgresql://finetuned_app@/finetuned?host=$platform_run"; }
platform_owner_url() { echo "postgresql://finetuned@/finetuned?host=$platform_run"; }

platform_write_config() {  # PORT
  cat >"$platform_config.new" <<END
# Written by deploy/local/up at each start; FINETUNED_* variables override it.
data_directory = "$platform_dir/data"

[database]
url = "$(platform_database_url)"

[redis]
socket = "$(services_redis_socket "$platform_run")"

[gateway]
address = "127.0.0.1"
port = $1
END
  mv "$platform_config.new" "$platform_config"
}

# What the caller's shell may have been told of another platform must not reach this one.
platform_forget_others() {
  unset FINETUNED_URL FINETUNED_API_KEY FINETUNED_ADMIN_KEY FINETUNED_DATABASE_URL FINETUNED_DATABASE_OWNER_URL \
    FINETUNED_DATA_DIRECTORY
}

platform_run_program() (
  platform_forget_others
  exec "$platform_program" "$@" --config "$platform_config"
)

# After SIGKILL a pid file of PostgreSQL may name a process that is now another's, and its own children need a moment
# to notice; PostgreSQL would refuse to start over either.
platform_clear_remains() {
  local pid tries=0
  pid=$(head -n 1 "$platform_dir/postgres/postmaster.pid" 2>/dev/null) || return 0
  if services_live_pid "$platform_run/postgres.pid" "$platform_dir/postgres" >/dev/null; then return; fi
  if ! tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF "$platform_dir/postgres"; then
    rm -f "$platform_dir/postgres/postmaster.pid" "$platform_run"/.s.PGSQL.5432*
  fi
  while platform_has_backends && [ "$tries" -lt 50 ]; do
    tries=$((tries + 1))
    sleep 0.2
  done
}

platform_has_backends() {
  local place
  for place in /proc/[0-9]*/cwd; do
    if [ "$(readlink "$place" 2>/dev/null)" = "$platform_dir/postgres" ]; then return 0; fi
  done
  return 1
}

platform_start_services() {
  local folder
  platform_clear_remains
  services_start_postgres "$platform_dir/postgres" "$platform_run" "$platform_dir/log/postgres.log" || return 1
  services_start_redis "$platform_dir/redis" "$platform_run" "$platform_dir/log/redis.log" || return 1
  services_private_directory "$platform_dir/data" || return 1
  for folder in objects models jobs tmp; do services_private_directory "$platform_dir/data/$folder" || return 1; done
}

platform_migrate() (
  platform_forget_others
  FINETUNED_DATABASE_OWNER_URL=$(platform_owner_url)
  export FINETUNED_DATABASE_OWNER_URL
  exec "$platform_program" migrate --config "$platform_config"
)

platform_bootstrap() {
  platform_migrate >>"$platform_log" 2>&1 || { platform_report_log "the migrations failed"; return 1; }
  platform_run_program admin bootstrap --organization local --project default --credit 10.00 \
    --keys-file "$platform_keys" >>"$platform_log" 2>&1 || { platform_report_log "the bootstrap failed"; return 1; }
}

platform_serve() {
  (
    platform_forget_others
    services_as_user "$platform_program" serve --config "$platform_config"
  ) >>"$platform_log" 2>&1 </dev/null &
  echo $! >"$platform_run/finetuned.pid"
}

platform_report_log() {
  platform_say "$1; the end of $platform_log:"
  tail -n 15 "$platform_log" >&2
}

platform_wait_ready() {  # PORT
  local deadline=$((SECONDS + platform_ready_seconds)) pid
  pid=$(cat "$platform_run/finetuned.pid")
  until [ "$(platform_http_status "$1" /readyz)" = 200 ]; do
    kill -0 "$pid" 2>/dev/null || { platform_report_log "finetuned serve stopped"; return 1; }
    [ "$SECONDS" -lt "$deadline" ] || { platform_report_log "not ready after $platform_ready_seconds s"; return 1; }
    sleep 0.1
  done
}

platform_start() {  # PORT, or nothing for the last one used (8080 at first)
  local port=${1:-$(platform_port)}
  port=${port:-8080}
  if platform_serve_pid >/dev/null && [ "$platform_program" -nt "$platform_run/finetuned.pid" ]; then
    platform_say "The program was built anew: the platform restarts with it."
    platform_stop_serve
  fi
  if platform_serve_pid >/dev/null; then
    if [ "$port" != "$(platform_port)" ]; then
      platform_say "The platform in $platform_dir already runs on port $(platform_port): deploy/local/down first."
      return 1
    fi
    # Its database or Redis may have died; it waits for them, so they only need to come back.
    platform_start_services && platform_wait_ready "$port"
    return
  fi
  if platform_port_in_use "$port"; then
    platform_say "Port $port is in use by another program: choose one with --port N."
    return 1
  fi
  [ -x "$platform_program" ] || { platform_say "$platform_program is not built: ./quickstart builds it."; return 2; }
  platform_start_services || return 1
  platform_write_config "$port"
  platform_bootstrap || return 1
  platform_serve
  platform_wait_ready "$port"
}

platform_stop_serve() {
  local pid tries=0
  if pid=$(platform_serve_pid); then
    kill -TERM "$pid" 2>/dev/null || true
    while platform_serve_pid >/dev/null; do
      tries=$((tries + 1))
      if [ "$tries" -gt $((platform_drain_seconds * 10)) ]; then
        platform_say "finetuned serve did not drain in $platform_drain_seconds s and is killed"
        kill -KILL "$pid" 2>/dev/null || true
        break
      fi
      sleep 0.1
    done
  fi
  rm -f "$platform_run/finetuned.pid"
}

platform_stop() {
  platform_stop_serve
  services_stop_redis "$platform_run"
  services_stop_postgres "$platform_dir/postgres" "$platform_run"
}

platform_key() { sed -n "s/^$1=//p" "$platform_keys"; }

platform_environment() {
  echo "FINETUNED_URL=http://127.0.0.1:$(platform_port)"
  echo "FINETUNED_API_KEY=$(platform_key FINETUNED_API_KEY)"
  echo "FINETUNED_ADMIN_KEY=$(platform_key FINETUNED_ADMIN_KEY)"
  echo "FINETUNED_DATABASE_URL=$(platform_database_url)"
  echo "FINETUNED_DATABASE_OWNER_URL=$(platform_owner_url)"
  echo "FINETUNED_DATA_DIRECTORY=$platform_dir/data"
}
