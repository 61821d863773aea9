"""A whole platform for one end-to-end test: real processes, in a directory of its own, on a free port."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import uuid

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.path.join(ROOT, "build", "release", "finetuned")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class LivePlatform:
    """`with LivePlatform() as platform:` starts it by deploy/local/up; afterwards nothing of it is left. `settings` are
    FINETUNED_* variables for all roles."""

    def __init__(self, settings=None):
        self.settings = settings or {}
        self.directory = tempfile.mkdtemp(prefix="finetuned-e2e-")
        self.port = free_port()
        self.environment = {}

    def __enter__(self):
        try:
            self.up()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        subprocess.run([os.path.join(ROOT, "deploy/local/down"), "--data", self.directory], check=False)
        self.kill_everything()
        run_directory = os.path.join(self.directory, "run_directory")
        if os.path.exists(run_directory):
            with open(run_directory, encoding="utf-8") as file:
                shutil.rmtree(file.read().strip(), ignore_errors=True)
        shutil.rmtree(self.directory, ignore_errors=True)

    def up(self):
        """Starts what does not run; the KEY=VALUE lines that deploy/local/up prints."""
        lines = subprocess.run([os.path.join(ROOT, "deploy/local/up"), "--data", self.directory, "--port", str(self.port)],
                               check=True, stdout=subprocess.PIPE, text=True, timeout=180,
                               env={**os.environ, **self.settings}).stdout.splitlines()
        self.environment = dict(line.split("=", 1) for line in lines)
        return self.environment

    def processes(self):
        """Process ids of everything that runs on this directory: roles, PostgreSQL with its children, Redis."""
        marks = [self.directory.encode()]
        found = []
        for name in os.listdir("/proc"):
            if not name.isdigit() or int(name) == os.getpid():
                continue
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    command = file.read()
                where = os.readlink(f"/proc/{name}/cwd").encode()
            except OSError:
                continue
            if any(mark in command or where.startswith(mark) for mark in marks):
                found.append(int(name))
        return found

    def kill_everything(self):
        """SIGKILL to every process of the platform, over and over until none is left."""
        for _ in range(100):
            alive = self.processes()
            if not alive:
                return
            for pid in alive:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.05)
        raise AssertionError(f"processes {self.processes()} survive SIGKILL")

    def run(self, *arguments, check=True):
        """Runs a command of the program against this platform."""
        environment = {**os.environ, **self.environment}
        return subprocess.run([PROGRAM, *arguments], env=environment, check=check, capture_output=True, text=True,
                              timeout=300)

    def import_model(self, directory, name):
        return self.run("models", "import", directory, "--name", name)

    def request(self, method, path, body=None, key=None, headers=None):
        """(status, parsed JSON) of one call; `body` is JSON unless it is bytes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            sent = {"Authorization": "Bearer " + (key or self.environment["FINETUNED_API_KEY"]), **(headers or {})}
            if body is not None and not isinstance(body, bytes):
                body = json.dumps(body).encode()
                sent["Content-Type"] = "application/json"
            connection.request(method, path, body=body, headers=sent)
            answer = connection.getresponse()
            data = answer.read()
            return answer.status, json.loads(data) if data else None
        finally:
            connection.close()

    def upload(self, data, name="train.jsonl"):
        """(status, file object) of POST /v1/files with `data` as the file's bytes."""
        boundary = uuid.uuid4().hex
        body = (f'--{boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
                f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
                "Content-Type: application/octet-stream\r\n\r\n").encode() + data + f"\r\n--{boundary}--\r\n".encode()
        return self.request("POST", "/v1/files", body,
                            headers={"Content-Type": f"multipart/form-data; boundary={boundary}"})

    def checked_file(self, data):
        """Uploads a dataset and waits until intake is through with it."""
        status, file = self.upload(data)
        assert status == 200, (status, file)
        return self.wait_for(f"/v1/files/{file['id']}", lambda f: f["status"] != "uploaded")

    def wait_for(self, path, done, seconds=120):
        """Asks GET `path` until `done(answer)`; fails after `seconds`."""
        deadline = time.monotonic() + seconds
        while True:
            status, answer = self.request("GET", path)
            if status == 200 and done(answer):
                return answer
            assert time.monotonic() < deadline, f"{path} after {seconds} s: {status} {answer}"
            time.sleep(0.1)

    def ended_job(self, job_id, seconds=300):
        return self.wait_for(f"/v1/fine_tuning/jobs/{job_id}",
                             lambda job: job["status"] in ("succeeded", "failed", "cancelled"), seconds)


def chat_rows(count, words=8):
    """A dataset of `count` rows in chat format, always the same."""
    rows = []
    for i in range(count):
        question = " ".join(f"w{(i * 7 + j * 3) % 23}" for j in range(words))
        rows.append({"messages": [{"role": "user", "content": question},
                                  {"role": "assistant", "content": f"answer {i % 5}"}]})
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def run_cases(*cases):
    """Runs the cases in order, each with a line `ok - NAME` or `not ok - NAME` as tests/e2e/run reads it; the exit
    status. A case is a function; its name is the test's."""
    failed = 0
    for case in cases:
        try:
            case()
            print(f"ok - {case.__name__}", flush=True)
        except Exception:  # a failed case must not hide the ones after it
            failed += 1
            traceback.print_exc(file=sys.stderr)
            print(f"not ok - {case.__name__}", flush=True)
    return 1 if failed else 0
