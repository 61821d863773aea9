"""What tests/bench/gateway runs on: PostgreSQL and Redis as deploy/local starts them, the gateway alone of the platform's roles, and
nginx. All in directories of their own, which are gone afterwards."""

import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

from measuring import HERE

ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))
from live_platform import LivePlatform, free_port  # noqa: E402

DEMO = os.path.join(ROOT, "deploy", "demo")
LOAD = os.path.join(ROOT, "build", "release", "tests", "bench", "bench_load")
AT = '. "$0" && platform_at "$1" && '  # before a command of deploy/local/platform.sh
START = AT + ('platform_start_services && platform_write_config "$2" && platform_migrate && platform_run_program '
              'admin bootstrap --organization local --project default --credit 1000000.00 --keys-file "$platform_keys"')
NO_LIMITS = {f"FINETUNED_GATEWAY_{name}": "1000000000" for name in
             ("REQUESTS_PER_MINUTE_PER_KEY", "REQUESTS_PER_MINUTE_PER_PROJECT")}
MODEL_LIMITS = ("max_requests_per_1_minute", "max_requests_per_1_day", "max_tokens_per_1_minute")
NGINX = """daemon off;
worker_processes {workers};
error_log {place}/error.log;
pid {place}/pid;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {place}/body; proxy_temp_path {place}/proxy; fastcgi_temp_path {place}/fastcgi;
  uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi;
  keepalive_requests 1000000000;
  server {{
    listen 127.0.0.1:{port};
    location / {{ default_type application/json; return 200 '{body}'; }}
  }}
}}
"""


def raise_descriptor_limit(wanted):
    """To the hard limit, for us and for what we start. False where that is not enough."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard == resource.RLIM_INFINITY or hard >= wanted


class GatewaySite(LivePlatform):
    """`up` starts no role; `role(NAME)` runs one for a while."""

    def up(self):
        self.shell(START, str(self.port))
        lines = self.shell(AT + "platform_environment").splitlines()
        self.environment = dict(line.split("=", 1) for line in lines)
        return self.environment

    def shell(self, command, *arguments):
        return subprocess.run(self.words(command, *arguments), check=True, stdout=subprocess.PIPE, text=True, timeout=180).stdout

    def words(self, command, *arguments):
        return ["bash", "-c", command, os.path.join(ROOT, "deploy/local/platform.sh"), self.directory, *arguments]

    @contextlib.contextmanager
    def role(self, name, **environment):
        """The process of a role, as the platform's user, until the end of the block."""
        with open(os.path.join(self.directory, "log", name + ".log"), "ab") as log:
            process = subprocess.Popen(self.words(AT + 'services_as_user "$platform_program" "$2" --config "$platform_config"', name),
                                       env={**os.environ, **environment}, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @contextlib.contextmanager
    def gateway(self, **environment):
        with self.role("gateway", **{**NO_LIMITS, **environment}) as process:
            deadline = time.monotonic() + 30
            while self.shell(AT + 'platform_http_status "$2" /readyz', str(self.port)).strip() != "200":
                if process.poll() is not None or time.monotonic() > deadline:
                    sys.exit("the gateway is not ready:\n" + self.log("gateway"))
                time.sleep(0.05)
            yield process

    def log(self, name):
        with open(os.path.join(self.directory, "log", name + ".log"), encoding="utf-8", errors="replace") as file:
            return file.read()[-3000:]

    def projects(self, count):
        """(key, id of a checked training file) of so many projects, the first one's made at the start."""
        self.import_model(os.path.join(DEMO, "model"), "demo")
        keys = [self.environment["FINETUNED_API_KEY"]]
        for number in range(1, count):
            name = f"bench{number}"
            self.run("admin", "projects", "create", "--organization", "local", "--name", name)
            self.run("admin", "credit", "--project", name, "--amount", "1000000.00", "--reason", "bench")
            keys.append(self.run("admin", "keys", "create", "--project", name).stdout.split()[-1])
        with open(os.path.join(DEMO, "train.jsonl"), "rb") as file:
            data = file.read()
        made = []
        with self.gateway(), self.role("intake"):
            self.lift_rate_limits("demo")
            for key in keys:
                self.environment["FINETUNED_API_KEY"] = key
                made.append((key, self.checked_file(data)["id"]))
        self.environment["FINETUNED_API_KEY"] = keys[0]
        return made


    def lift_rate_limits(self, model):
        """The projects' limits of one model, which the gateway's own settings say nothing of."""
        admin = self.environment["FINETUNED_ADMIN_KEY"]
        _, projects = self.request("GET", "/v1/organization/projects?limit=100", key=admin)
        for project in projects["data"]:
            status, answer = self.request("POST", f"/v1/organization/projects/{project['id']}/rate_limits/rl-{model}",
                                          {name: 1000000000 for name in MODEL_LIMITS}, key=admin)
            assert status == 200, answer


@contextlib.contextmanager
def nginx(workers, body_bytes):
    """An nginx that answers everything with so many bytes: its port, and a function that gives its processor seconds."""
    with tempfile.TemporaryDirectory(prefix="finetuned-nginx-") as place:
        port = free_port()
        config = os.path.join(place, "nginx.conf")
        with open(config, "w", encoding="utf-8") as file:
            file.write(NGINX.format(workers=workers, place=place, port=port, body="x" * body_bytes))
        process = subprocess.Popen(["nginx", "-p", place, "-c", config, "-e", os.path.join(place, "error.log")])
        try:
            time.sleep(0.5)
            if process.poll() is not None:
                sys.exit("nginx does not start")
            with open(f"/proc/{process.pid}/task/{process.pid}/children", encoding="ascii") as file:
                workers = file.read().split()
            yield port, lambda: sum(cpu_seconds(workers).values())
        finally:
            process.terminate()
            process.wait(timeout=30)


def load(port, connections, seconds, lines, rate=None):
    """bench_load's figures for the requests in `lines`."""
    with tempfile.NamedTemporaryFile("w", suffix=".requests") as requests:
        requests.write("".join(line + "\n" for line in lines))
        requests.flush()
        words = [LOAD, str(port), str(connections), str(seconds), requests.name] + ([str(rate)] if rate else [])
        done = subprocess.run(words, stdout=subprocess.PIPE, text=True, timeout=seconds + 90)
    if done.returncode != 0:
        sys.exit("bench_load failed")
    return json.loads(done.stdout)


def memory_mb(pid, field="VmRSS"):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        kilobytes = next(line.split()[1] for line in file if line.startswith(field + ":"))
    return int(kilobytes) / 1024


def forget_peak(pid):
    with open(f"/proc/{pid}/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def cpu_seconds(pids):
    """Of processes and of their children that have ended, by the first word of their command."""
    used = {}
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
                text = file.read()
        except OSError:
            continue
        name = text[text.index("(") + 1:text.rindex(")")]
        times = text[text.rindex(")") + 2:].split()[11:15]
        used[name] = used.get(name, 0) + sum(map(int, times)) / os.sysconf("SC_CLK_TCK")
    return used
