"""A live platform with work on it, and what has to hold whatever was done to it."""

import hashlib
import os
import signal
import subprocess
import sys
import time
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))

import tiny_model  # noqa: E402
from live_platform import PROGRAM, ROOT, LivePlatform, chat_rows, free_port  # noqa: E402
from proxy import Proxy  # noqa: E402

ROWS = 300
SETTINGS = {"n_epochs": 8, "batch_size": 2, "lora_rank": 4, "lora_dropout": 0.1}
ENDED = ("succeeded", "failed", "cancelled")
NANO_A_TOKEN = 1000


def eventually(done, seconds, what):
    """How long it took until `done()` was true."""
    began = time.monotonic()
    while not done():
        assert time.monotonic() - began < seconds, f"after {seconds} s not yet: {what}"
        time.sleep(0.02)
    return time.monotonic() - began


class Stage(LivePlatform):
    """Knows every file and job that was acknowledged; `verify()` says what became of them. Every job that is made by
    job() has the same rows, settings and seed, and so has to end in the bytes of `reference`."""

    hyperparameters = SETTINGS

    def __init__(self, settings=None):
        super().__init__({"FINETUNED_WORKER_STATE_SECONDS": "1", **(settings or {})})
        self.jobs = []
        self.extra = []
        self.held = []
        self.proxies = []
        self.reference = None
        self.seed = 0

    def __enter__(self):
        super().__enter__()
        try:
            self.import_model(tiny_model.write(os.path.join(self.directory, "model"), hidden=64, layers=3), "tiny")
            self.file = self.checked_file(chat_rows(ROWS))
            assert self.file["status"] == "processed", self.file
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in self.extra:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
        for pid in self.held:
            os.kill(pid, signal.SIGCONT)
        for proxy in self.proxies:
            proxy.close()
        super().__exit__()

    # What is done on it.

    def body(self, tag=None):
        return {"model": "tiny", "training_file": self.file["id"], "seed": 1, "metadata": {"tag": tag or uuid.uuid4().hex},
                "method": {"type": "supervised", "supervised": {"hyperparameters": self.hyperparameters}}}

    def job(self):
        status, job = self.request("POST", "/v1/fine_tuning/jobs", self.body())
        assert status == 200, (status, job)
        self.jobs.append(job["id"])
        return job["id"]

    def look(self, job_id):
        """The job; None where the platform does not answer."""
        try:
            status, job = self.request("GET", f"/v1/fine_tuning/jobs/{job_id}")
        except OSError:
            return None
        return job if status == 200 else None

    def events(self, job_id):
        found, after = [], ""
        while True:
            status, page = self.request("GET", f"/v1/fine_tuning/jobs/{job_id}/events?limit=100{after}")
            assert status == 200, (status, page)
            found += page["data"]
            if not page["has_more"]:
                return found[::-1]
            after = "&after=" + page["data"][-1]["id"]

    def steps(self, job_id):
        return [event["data"]["step"] for event in self.events(job_id) if event["type"] == "metrics"]

    def messages(self, job_id):
        return [event["message"] for event in self.events(job_id) if event["type"] == "message"]

    def in_mid_job(self, job_id=None, steps=40):
        """A job that has been trained for so many steps and a state was saved of; its id."""
        job_id = job_id or self.job()
        saved = f"SELECT count(*) FROM job WHERE id = '{job_id}' AND state_step >= {steps}"
        eventually(lambda: self.sql(saved) == "1" or (self.look(job_id) or {}).get("status") in ENDED, 120, "a job at work")
        job = self.look(job_id)
        assert job["status"] == "running", f"the job is {job['status']} before the fault: give it more rows"
        return job_id

    def goes_on(self, job_id, seconds):
        """How long until the job is further than it is told to be now."""
        before = max(self.steps_by_sql(job_id))
        return eventually(lambda: max(self.steps_by_sql(job_id)) > before or (self.look(job_id) or {}).get("status") in ENDED,
                          seconds, "the job goes on")

    def steps_by_sql(self, job_id):
        try:
            text = self.sql(f"SELECT coalesce(max((data->>'step')::bigint), 0) FROM job_event WHERE job_id = '{job_id}' AND type = 'metrics'")
        except subprocess.CalledProcessError:  # the database is what is away
            return [0]
        return [int(text)]

    def wait_ended(self, job_id, seconds=300):
        eventually(lambda: (self.look(job_id) or {}).get("status") in ENDED, seconds, f"{job_id} ends")
        return self.look(job_id)

    def sql(self, statement):
        """The first column of the first row, as text, by the cluster's superuser: no row is hidden."""
        return self.as_user(["psql", "-X", "-q", "-A", "-t", "-U", "services", "-h", self.run_directory(), "-d", "finetuned", "-c", statement],
                            capture=True).strip()

    def run_directory(self):
        named = os.path.join(self.directory, "run_directory")
        if os.path.exists(named):
            with open(named, encoding="utf-8") as file:
                return file.read().strip()
        return os.path.join(self.directory, "run")

    def redis(self, *words):
        return subprocess.run(["redis-cli", "-s", os.path.join(self.run_directory(), "redis.sock"), *words], check=True,
                              capture_output=True, text=True, timeout=30).stdout.strip()

    def as_user(self, words, capture=False, environment=None):
        """Runs a command, or begins it, as the account of the platform's roles."""
        line = [". deploy/local/platform.sh; platform_at \"$0\"; services_as_user \"$@\"", self.directory, *words]
        around = {**os.environ, **self.environment, **self.settings, **(environment or {})}
        if capture:
            return subprocess.run(["bash", "-c", *line], cwd=ROOT, env=around, check=True, capture_output=True, text=True,
                                  timeout=60).stdout
        with open(os.path.join(self.directory, "log", "extra.log"), "ab") as log:
            process = subprocess.Popen(["bash", "-c", *line], cwd=ROOT, env=around, stdout=log, stderr=log,
                                       stdin=subprocess.DEVNULL)
        self.extra.append(process)
        return process

    def role(self, name, environment=None, by=()):
        """Begins one more process of a role, by the command `by` where one is given; it is ended with the stage."""
        return self.as_user([*by, PROGRAM, name, "--config", os.path.join(self.directory, "finetuned.toml")], environment=environment)

    def proxied(self):
        """A way to PostgreSQL that can be cut, and the variable that makes a role take it."""
        directory = os.path.join(self.run_directory(), f"p{len(self.proxies)}")
        proxy = Proxy(directory, os.path.join(self.run_directory(), ".s.PGSQL.5432"))
        self.proxies.append(proxy)
        return proxy, {"FINETUNED_DATABASE_URL": f"postgresql://finetuned_app@/finetuned?host={directory}"}

    def gateway(self, environment):
        """One more gateway: its port, once it is ready."""
        port = free_port()
        self.role("gateway", {**environment, "FINETUNED_GATEWAY_PORT": str(port)})
        eventually(lambda: self.ready(port), 30, "the second gateway is ready")
        return port

    def ready(self, port=None):
        own, self.port = self.port, port or self.port
        try:
            return self.request("GET", "/readyz")[0] == 200
        except OSError:
            return False
        finally:
            self.port = own

    def pid_of(self, role):
        """The process of a role that `finetuned serve` began."""
        extra = [process.pid for process in self.extra]
        for pid in self.processes():
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    words = file.read().split(b"\0")
            except OSError:
                continue
            if words[0].endswith(b"finetuned") and role.encode() in words[1:2] and pid not in extra:
                return pid
        return None

    def running(self, role):
        """The process of a role, once `finetuned serve` has begun it anew where a fault before ended it."""
        eventually(lambda: self.pid_of(role), 15, f"a {role} runs")
        return self.pid_of(role)

    def kill(self, role):
        """SIGKILL to a role; returns once it is gone."""
        pid = self.running(role)
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not os.path.exists(f"/proc/{pid}") or self.pid_of(role) != pid, 10, f"the {role} is gone")

    def kill_and_hold(self, role):
        """Ends a role that `finetuned serve` began and keeps that from beginning it anew, until restore()."""
        self.running(role)
        serve = self.pid_of("serve")
        os.kill(serve, signal.SIGSTOP)
        self.held.append(serve)
        self.kill(role)

    def postgres(self, *words):
        """pg_ctl."""
        self.as_user([os.path.join(os.environ.get("FINETUNED_POSTGRES_BIN", "/usr/lib/postgresql/15/bin"), "pg_ctl"), "-D",
                      os.path.join(self.directory, "postgres"), "-w", "-t", "60", "-l", "/dev/null", *words], capture=True)

    def restore(self):
        """Takes back whatever a fault left: extra roles, what was held, PostgreSQL, Redis, every role."""
        for process in self.extra:
            for number in (signal.SIGCONT, signal.SIGKILL):
                process.send_signal(number)
            process.wait()
        self.extra.clear()
        for pid in self.held:
            os.kill(pid, signal.SIGCONT)
        self.held.clear()
        self.up()

    def logged(self, *parts):
        """The lines of all roles that have all of this in them."""
        lines = []
        for name in ("finetuned.log", "extra.log"):
            path = os.path.join(self.directory, "log", name)
            if os.path.exists(path):
                with open(path, encoding="utf-8", errors="replace") as file:
                    lines += [line.rstrip() for line in file if all(part in line for part in parts)]
        return lines

    def complaints(self, most=20):
        """The last lines in which a role warned, or erred."""
        with open(os.path.join(self.directory, "log", "finetuned.log"), encoding="utf-8", errors="replace") as file:
            return [line.rstrip() for line in file if " error " in line or " warning " in line][-most:]

    # What has to hold.

    def adapter(self, job):
        names = {}
        for file_id in job["result_files"]:
            names[self.request("GET", f"/v1/files/{file_id}")[1]["filename"]] = file_id
        path = self.sql(f"SELECT object_id FROM file WHERE id = '{names['adapter_model.safetensors']}'")
        with open(os.path.join(self.directory, "data", "objects", path[:2], path[2:]), "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()

    def learn_reference(self):
        """What a job comes to that is left alone."""
        ended = self.wait_ended(self.job())
        assert ended["status"] == "succeeded", ended
        self.reference = (self.adapter(ended), ended["trained_tokens"])

    def verify(self):
        """(lost, doubled): what was acknowledged and is gone or ended otherwise than it should; what happened twice.
        Throws where the ledger does not add up."""
        lost, doubled = [], []
        if self.request("GET", f"/v1/files/{self.file['id']}")[0] != 200:
            lost.append(self.file["id"])
        for job_id in self.jobs:
            job = self.wait_ended(job_id)
            if job["status"] == "failed":
                lost.append((job_id, job["error"]))
            if job["status"] == "succeeded" and self.reference and (self.adapter(job), job["trained_tokens"]) != self.reference:
                lost.append((job_id, "came out in other bytes"))
            eventually(lambda job_id=job_id: self.sql(f"SELECT settled_at IS NOT NULL FROM job WHERE id = '{job_id}'") == "t", 30, "it is settled")
            kinds = self.sql(f"SELECT string_agg(kind, ' ' ORDER BY kind) FROM transfer WHERE job_id = '{job_id}'")
            if kinds not in ("pending post", "pending void"):
                doubled.append((job_id, kinds))
            told = self.steps(job_id)
            if len(told) != len(set(told)):
                doubled.append((job_id, "steps told twice"))
        one_tag = "SELECT count(*) FROM (SELECT metadata->>'tag' FROM job GROUP BY 1 HAVING count(*) > 1) AS twice"
        if self.sql(one_tag) != "0":
            doubled.append("two jobs of one request")
        self.run("ledger", "verify")
        return lost, doubled
