"""The faults: each does something to a platform with work on it and says how long it took to recover. `whole` is the
long form of `tests/faults/run --all`; the short one differs in tries and seconds, not in kind."""

import glob
import hashlib
import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import hung_disk
import killed_runs
from broken_disk import BrokenDisk, half_written
from stage import ENDED, HERE, PROGRAM, Stage, chat_rows, eventually, tiny_model

QUICK_LEASE = {"FINETUNED_WORKER_LEASE_SECONDS": "6", "FINETUNED_WORKER_HEARTBEAT_SECONDS": "1"}


class Skipped(Exception):
    """A fault that this machine cannot make; why."""


class Fault:
    """One row of the table. `allowed`: seconds to recover, None where recovering is no matter of time."""

    def __init__(self, name, component, what, allowed, act, tries=(1, 1), settings=None):
        self.name, self.component, self.what, self.allowed = name, component, what, allowed
        self.act, self.tries, self.settings = act, tries, settings or {}


def lease_settings(whole):
    return {} if whole else QUICK_LEASE


def gateway_killed_in_a_post(stage, whole):
    """SIGKILL at a random moment of a POST; the client sends the same request with the same key until it is answered."""
    tag = f"post-{random.random()}"
    answers = []

    def send():
        while not answers:
            try:
                status, job = stage.request("POST", "/v1/fine_tuning/jobs", stage.body(tag), headers={"Idempotency-Key": tag})
                if status == 200:
                    answers.append(job["id"])
                elif status not in (409, 503):
                    answers.append(f"{status} {job}")
            except OSError:
                time.sleep(0.02)
            except http.client.HTTPException:
                time.sleep(0.02)

    if whole:
        time.sleep(11)  # one that dies again within 10 s is begun anew later and later
    client = threading.Thread(target=send)
    client.start()
    time.sleep(random.uniform(0, 0.05))
    stage.kill("gateway")
    took = eventually(stage.ready, 30, "the gateway is ready again")
    client.join(30)
    assert answers and answers[0].startswith("ftjob-"), answers
    made = stage.sql(f"SELECT count(*) FROM job WHERE metadata->>'tag' = '{tag}'")
    assert made == "1", f"{made} jobs of one request"
    stage.jobs.append(answers[0])
    stage.request("POST", f"/v1/fine_tuning/jobs/{answers[0]}/cancel")
    return took


def gateway_ends_under_load(stage, whole):
    """SIGTERM with 1,000 requests under way: each is answered, and the process ends."""
    port = stage.gateway({})
    gateway = stage.extra[-1]
    request = ("GET /v1/fine_tuning/jobs?limit=20 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "
               f"{stage.environment['FINETUNED_API_KEY']}\r\n\r\n").encode()
    clients = []
    for _ in range(1000):
        client = socket.create_connection(("127.0.0.1", port), timeout=60)
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        clients.append(client)
    for client in clients:
        assert client.recv(4096).startswith(b"HTTP/1.1 200"), "not accepted"
    for client in clients:
        client.sendall(request)
    began = time.monotonic()
    time.sleep(0.2)  # so that the last of them has arrived
    gateway.send_signal(signal.SIGTERM)
    answered = sum(client.recv(1 << 16).startswith((b"HTTP/1.1 200", b"HTTP/1.1 429")) for client in clients)
    gateway.wait(60)
    for client in clients:
        client.close()
    assert answered == 1000, f"{1000 - answered} of 1,000 were not answered"
    return time.monotonic() - began


def worker_killed(stage, whole):
    job = stage.in_mid_job()
    stage.kill("worker")
    took = stage.goes_on(job, 120)
    assert any(message.startswith("The run goes on after step") for message in stage.messages(job)), "it began anew"
    return took


def worker_killed_at_every_call(stage, whole):
    """SIGKILL before each call that changes a file, while states and checkpoints are written; begun again each time."""
    library = os.path.join(stage.directory, "die_at_call.so")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, os.path.join(HERE, "die_at_call.c"), "-ldl"], check=True)
    base, data = os.path.join(stage.directory, "small"), os.path.join(stage.directory, "rows.jsonl")
    tiny_model.write(base)
    with open(data, "wb") as file:
        file.write(chat_rows(12))

    os.mkdir(os.path.join(stage.directory, "killed"))

    def command(out):
        return [PROGRAM, "train", "--base", base, "--data", data, "--out", out, "--steps", "8", "--batch-size", "4", "--dropout", "0.1",
                "--checkpoint-steps", "2", "--threads", "1", "--state", out + ".state", "--state-steps", "1"]

    def hashes(out):
        found = {}
        for where, _, names in os.walk(out):
            for name in names:
                with open(os.path.join(where, name), "rb") as file:
                    found[os.path.relpath(os.path.join(where, name), out)] = hashlib.sha256(file.read()).hexdigest()
        return found

    def run(out, **environment):
        return subprocess.run(command(out), env={**os.environ, **environment}, capture_output=True, text=True, timeout=120, check=False)

    whole_out = os.path.join(stage.directory, "never-killed")
    assert run(whole_out).returncode == 0
    expected = hashes(whole_out)
    kills, at = 0, 1
    while True:
        out = os.path.join(stage.directory, "killed", str(at))
        died = run(out, LD_PRELOAD=library, FINETUNED_TEST_DIE_AT=str(at), FINETUNED_TEST_DIE_BELOW=os.path.join(stage.directory, "killed"))
        if died.returncode == 0:
            break
        assert died.returncode == -signal.SIGKILL, died
        kills += 1
        done = run(out)
        assert done.returncode == 0, (at, done.stderr)
        assert hashes(out) == expected, f"killed at call {at}: other bytes, or files left behind"
        shutil.rmtree(out)
        at += 1 if whole else 3
    assert kills > (60 if whole else 20), f"only {kills} calls: the library does not see them"
    return None


def stop_and_let_go(stage, whole, process, job, before=lambda seconds: None):
    """SIGSTOP for longer than the lease, then SIGCONT: another has taken over, and the first one gives up what it had, without a
    write that came through. (That no step was told twice, and what came out of the job, verify() looks at.) `before` is called with how long it was stopped, when it is about to go on. Returns how long
    taking over took, and the lines in which the worker gave up."""
    epoch = stage.sql(f"SELECT lease_epoch FROM job WHERE id = '{job}'")
    os.kill(process, signal.SIGSTOP)
    began = time.monotonic()
    try:
        took = stage.goes_on(job, 120)
        time.sleep(60 if whole else 4)
        before(time.monotonic() - began)
    finally:
        os.kill(process, signal.SIGCONT)
    abandoned = ("job abandoned", f"job={job}", f"epoch={epoch} ")
    eventually(lambda: stage.logged(*abandoned), 30, "the worker says that it abandons the job")
    assert int(stage.sql(f"SELECT lease_epoch FROM job WHERE id = '{job}'")) > int(epoch), "nobody took over"
    late = f"SELECT count(*) FROM usage u WHERE job_id = '{job}' AND lease_epoch = {epoch} AND seq > (SELECT min(seq) FROM usage o" \
           f" WHERE o.job_id = u.job_id AND o.lease_epoch > {epoch})"
    assert stage.sql(late) == "0", "it was paid for steps after another had taken over"
    return took, stage.logged("nothing more is written for a job", f"job={job}", f"epoch={epoch} ")


def worker_stopped(stage, whole):
    stage.role("worker")
    job = stage.in_mid_job()
    process = int(stage.sql(f"SELECT worker FROM job WHERE id = '{job}'").rsplit(":", 1)[-1])
    took, gave_up = stop_and_let_go(stage, whole, process, job)
    assert len(gave_up) == 1, gave_up
    return took


def worker_suspended(stage, whole):
    """As its machine was: its monotonic clock has stood still, so that it believes in its lease, and the database is what refuses."""
    clock = os.path.join(stage.directory, "suspended")
    library = os.path.join(stage.directory, "suspended_clock.so")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, os.path.join(HERE, "suspended_clock.c"), "-ldl"], check=True)
    with open(clock, "wb") as file:
        file.write(bytes(8))

    def wake(seconds):
        with open(clock, "r+b") as file:
            file.write(int(seconds * 1e9).to_bytes(8, "little"))

    stage.kill_and_hold("worker")
    suspended = stage.role("worker", {"LD_PRELOAD": library, "FINETUNED_TEST_SUSPENDED_FILE": clock})
    job = stage.in_mid_job()
    stage.role("worker")
    took, gave_up = stop_and_let_go(stage, whole, suspended.pid, job, wake)
    assert len(gave_up) == 1 and "the database refused a write" in gave_up[0], gave_up
    return took


def worker_cut_off(stage, whole):
    """Nothing comes through between a worker and PostgreSQL: it stops at the end of its lease, another goes on."""
    proxy, way = stage.proxied()
    stage.kill_and_hold("worker")
    stage.role("worker", way)
    job = stage.in_mid_job()
    stage.role("worker")
    epoch = int(stage.sql(f"SELECT lease_epoch FROM job WHERE id = '{job}'"))
    proxy.frozen.set()
    try:
        took = stage.goes_on(job, 120)
        time.sleep(90 - took if whole else 4)
    finally:
        proxy.frozen.clear()
    stage.wait_ended(job)
    assert int(stage.sql(f"SELECT lease_epoch FROM job WHERE id = '{job}'")) > epoch, "nobody took over"
    return took


def postgres_restarts(stage, whole):
    job = stage.in_mid_job()
    stage.postgres("restart", "-m", "immediate")
    eventually(stage.ready, 30, "the gateway is ready again")
    took = stage.goes_on(job, 60)
    assert stage.sql(f"SELECT attempts FROM job WHERE id = '{job}'") == "0", "the restart cost the job an attempt"
    return took


def postgres_away(stage, whole):
    """Stopped for a while: requests get 503 with Retry-After, the training goes on where the lease is long enough."""
    job = stage.in_mid_job()
    stage.postgres("stop", "-m", "immediate")
    statuses = set()
    end = time.monotonic() + (60 if whole else 4)
    while time.monotonic() < end:
        connection = http.client.HTTPConnection("127.0.0.1", stage.port, timeout=30)
        connection.request("GET", f"/v1/fine_tuning/jobs/{job}", headers={"Authorization": "Bearer " + stage.environment["FINETUNED_API_KEY"]})
        answer = connection.getresponse()
        statuses.add(answer.status)
        if answer.status == 503:
            assert answer.getheader("retry-after"), "503 without Retry-After"
        else:
            assert answer.status == 200, (answer.status, answer.read())
        connection.close()
        time.sleep(0.2)
    assert 503 in statuses, statuses
    stage.up()
    return stage.goes_on(job, 120)


def commit_cut(how):
    def act(stage, whole):
        """The connection is cut in a COMMIT; the client retries with its key."""
        proxy, way = stage.proxied()
        port = stage.gateway(way)
        own, stage.port = stage.port, port
        try:
            for turn in range(10 if whole else 3):
                tag = f"commit-{how}-{turn}-{random.random()}"
                proxy.cut_commit = how
                statuses = []
                for _ in range(40):
                    status, job = stage.request("POST", "/v1/fine_tuning/jobs", stage.body(tag), headers={"Idempotency-Key": tag})
                    statuses.append(status)
                    if status == 200:
                        break
                    assert status in (409, 503), (status, job)
                    time.sleep(0.1)
                assert statuses[-1] == 200, statuses
                assert stage.sql(f"SELECT count(*) FROM job WHERE metadata->>'tag' = '{tag}'") == "1", statuses
                stage.jobs.append(job["id"])
                stage.request("POST", f"/v1/fine_tuning/jobs/{job['id']}/cancel")
            assert proxy.commits_cut > 0, "no COMMIT was cut"
        finally:
            stage.port = own
        return None
    act.__doc__ = f"the connection is cut {how} a COMMIT"
    return act


def redis_fault(*commands):
    def act(stage, whole):
        for command in commands:
            stage.redis(*command)
        job = stage.job()
        return eventually(lambda: (stage.look(job) or {}).get("status") in ("running", "succeeded"), 60, "the job is found")
    return act


def redis_killed(stage, whole):
    """SIGKILL, and away for a while: jobs are made, found and trained without it; then it comes back empty."""
    with open(os.path.join(stage.run_directory(), "redis.pid"), encoding="utf-8") as file:
        os.kill(int(file.read()), signal.SIGKILL)
    job = stage.job()
    took = eventually(lambda: (stage.look(job) or {}).get("status") in ("running", "succeeded"), 60, "the job is found")
    stage.up()
    return took


def clock_moved(seconds):
    def act(stage, whole):
        """One worker whose clock is an hour off trains a job: leases and bills do not care."""
        if not shutil.which("faketime"):
            raise Skipped("faketime is not installed")
        stage.kill_and_hold("worker")
        stage.role("worker", by=["faketime", "-m", "--exclude-monotonic", "-f", f"{seconds:+d}s"])
        job = stage.in_mid_job()
        ended = stage.wait_ended(job)
        assert ended["status"] == "succeeded", ended
        assert stage.sql(f"SELECT attempts FROM job WHERE id = '{job}'") == "0", "a lease was lost"
    return act


def cancel_and_wait(stage, job, once_answered=lambda: None):
    began = time.monotonic()
    status, answer = stage.request("POST", f"/v1/fine_tuning/jobs/{job}/cancel")
    answered = time.monotonic() - began
    assert status in (200, 400), (status, answer)
    assert answered <= 5, f"the cancel was answered after {answered:.1f} s"
    once_answered()
    stage.wait_ended(job, 60)
    return time.monotonic() - began


def cancelled(when):
    def act(stage, whole):
        job = stage.job()
        if when == "queued":
            other = stage.job()
            job, other = other, job
        elif when == "starting":
            eventually(lambda: stage.look(job)["status"] == "running", 60, "the job begins")
        elif when == "mid-step":
            stage.in_mid_job(job)
        else:
            total = int(stage.sql(f"SELECT total_steps FROM job WHERE id = '{stage.in_mid_job(job)}'"))
            eventually(lambda: max(stage.steps_by_sql(job)) >= total - 3, 120, "the job is at its end")
        took = cancel_and_wait(stage, job)
        if when == "queued":
            stage.request("POST", f"/v1/fine_tuning/jobs/{other}/cancel")
        return took
    act.__doc__ = f"a job is cancelled while it is {when}"
    return act


def pause_reason(stage, job):
    return ((stage.look(job) or {}).get("pause") or {}).get("reason")


def disk_fails_a_job(word, below):
    def act(stage, whole):
        """A worker's disk fails in mid-run: the job pauses by itself, others wait; then the disk works, and it goes on."""
        stage.kill_and_hold("worker")
        disk = BrokenDisk(stage, below)
        stage.role("worker", disk.environment)
        job = stage.in_mid_job()
        try:
            disk.fail(word)
            eventually(lambda: pause_reason(stage, job) == "storage_unavailable", 180, "the job pauses")
            held = f"SELECT count(*) FROM transfer WHERE job_id = '{job}' AND kind <> 'pending'"
            assert stage.sql(held) == "0", "its hold is resolved"
            assert stage.sql(f"SELECT attempts FROM job WHERE id = '{job}'") == "0", "it counts as a crash"
            time.sleep(30 if whole else 3)
            assert pause_reason(stage, job) == "storage_unavailable", stage.look(job)
        finally:
            disk.mend()
        took = eventually(lambda: (stage.look(job) or {}).get("status") in ("running", "succeeded"), 120, "the job goes on")
        assert stage.wait_ended(job)["status"] == "succeeded", stage.look(job)
        assert any("goes on after step" in message for message in stage.messages(job)), stage.messages(job)
        assert not half_written(stage), half_written(stage)
        return took
    return act


def cancelled_in_a_checkpoint(stage, whole):
    """A job is cancelled while a state of it is being written, which the disk takes its time for until then. One that ends before it
    writes a further one is left to it, and another taken."""
    stage.kill_and_hold("worker")
    disk = BrokenDisk(stage, "jobs")
    stage.role("worker", disk.environment)
    for _ in range(5):
        job = stage.in_mid_job()
        beside = os.path.join(stage.directory, "data", "jobs", job, "**", "step-*.tmp")
        try:
            disk.fail("SLOW")
            eventually(lambda: glob.glob(beside, recursive=True) or stage.look(job)["status"] in ENDED, 60, "a state is being written")
            if stage.look(job)["status"] in ENDED:
                continue
            took = cancel_and_wait(stage, job, disk.mend)
        finally:
            disk.mend()
        assert stage.look(job)["status"] == "cancelled", stage.look(job)
        return took
    raise AssertionError("five jobs ended before a further state of theirs was written")


def disk_is_slow(stage, whole):
    """Each call of a worker and a gateway on the data takes a second: what they do is late, and not lost; who asks for a job
    meanwhile is answered."""
    stage.kill_and_hold("worker")
    disk = BrokenDisk(stage, "")
    stage.role("worker", disk.environment)
    own, stage.port = stage.port, stage.gateway(disk.environment)
    try:
        job = stage.in_mid_job()
        disk.fail("SLOW")
        answers, until = [], time.monotonic() + (60 if whole else 8)
        uploads = [threading.Thread(target=lambda: answers.append(stage.upload(chat_rows(30)))) for _ in range(8 if whole else 3)]
        for upload in uploads:
            upload.start()
        while time.monotonic() < until:
            began = time.monotonic()
            assert stage.look(job)["status"] in ("running", "succeeded"), stage.look(job)
            assert time.monotonic() - began <= 5, f"GET of a job took {time.monotonic() - began:.1f} s"
            time.sleep(0.2)
        for upload in uploads:
            upload.join()
        assert [status for status, _ in answers] == [200] * len(uploads), answers
    finally:
        disk.mend()
        stage.port = own
    assert stage.wait_ended(job)["status"] == "succeeded", stage.look(job)


def disk_fails_uploads(word, status, code):
    def act(stage, whole):
        """Uploads to a gateway whose disk fails are refused whole, and taken once it works."""
        disk = BrokenDisk(stage, "objects")
        own, stage.port = stage.port, stage.gateway(disk.environment)
        try:
            disk.fail(word)
            files = stage.sql("SELECT count(*) FROM file")
            for _ in range(20 if whole else 5):
                answered, refused = stage.upload(chat_rows(300))
                assert (answered, refused["error"]["code"]) == (status, code), (answered, refused)
            assert stage.sql("SELECT count(*) FROM file") == files, "a refused upload is seen"
            assert not half_written(stage), half_written(stage)
            disk.mend()
            answered, file = stage.upload(chat_rows(300))
            assert answered == 200, file
        finally:
            disk.mend()
            stage.port = own
    return act


def disk_full_for_real(stage, whole):
    """A file system of two megabytes: what does not fit is answered with 507, and what was there is served."""
    if os.geteuid() != 0:
        raise Skipped("a small file system can be mounted by root only")
    small = os.path.join(stage.directory, "small")
    os.makedirs(small, exist_ok=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=777", "tmpfs", small], capture_output=True, check=False).returncode != 0:
        raise Skipped("no file system can be mounted here")
    own, stage.port = stage.port, stage.gateway({"FINETUNED_DATA_DIRECTORY": small})
    try:
        status, kept = stage.upload(b'{"prompt":"a","completion":"b"}\n' * 1000, "kept.jsonl")
        assert status == 200, kept
        for _ in range(3):
            status, refused = stage.upload(b"x" * (4 << 20))
            assert (status, refused["error"]["code"]) == (507, "storage_full"), (status, refused)
        assert not os.listdir(os.path.join(small, "objects", "tmp")), "half-written objects stay"
        connection = http.client.HTTPConnection("127.0.0.1", stage.port, timeout=30)
        connection.request("GET", f"/v1/files/{kept['id']}/content", headers={"Authorization": "Bearer " + stage.environment["FINETUNED_API_KEY"]})
        assert len(connection.getresponse().read()) == kept["bytes"]
        connection.close()
        status, again = stage.upload(b"x\n" * 1000)
        assert status == 200, again
        for file in (kept["id"], again["id"]):
            stage.request("DELETE", f"/v1/files/{file}")
    finally:
        stage.port = own
        stage.extra[-1].kill()
        stage.extra.pop().wait()
        subprocess.run(["umount", "-l", small], check=True)


FAULTS = [
    Fault("gateway_killed", "gateway", "SIGKILL in a POST, retried with its key", 2, gateway_killed_in_a_post, tries=(3, 20)),
    Fault("gateway_ends", "gateway", "SIGTERM with 1,000 requests under way", 30, gateway_ends_under_load),
    Fault("worker_killed", "worker", "SIGKILL in mid-run", 45, worker_killed, tries=(2, 20)),
    Fault("worker_killed_at_every_call", "worker", "SIGKILL at each write, fsync, rename", None, worker_killed_at_every_call),
    Fault("killed_runs", "worker", "SIGKILL at 20 points of runs and of their checkpoints", None, killed_runs.act),
    Fault("worker_stopped", "worker", "SIGSTOP beyond the lease, then SIGCONT", 45, worker_stopped),
    Fault("worker_suspended", "worker", "its clock, too, stands still beyond the lease", 45, worker_suspended),
    Fault("worker_cut_off", "network", "no byte between worker and PostgreSQL", 45, worker_cut_off),
    Fault("postgres_restarts", "PostgreSQL", "immediate restart", None, postgres_restarts, tries=(1, 3)),
    Fault("postgres_away", "PostgreSQL", "away for a while", None, postgres_away),
    Fault("commit_cut_before", "PostgreSQL", "connection cut before a COMMIT", None, commit_cut("before")),
    Fault("commit_cut_after", "PostgreSQL", "connection cut after a COMMIT", None, commit_cut("after")),
    Fault("redis_flushed", "Redis", "FLUSHALL", 10, redis_fault(["FLUSHALL"])),
    Fault("redis_group_destroyed", "Redis", "consumer group destroyed", 10, redis_fault(["XGROUP", "DESTROY", "finetuned:jobs", "workers"])),
    Fault("redis_killed", "Redis", "SIGKILL, then an empty one", 10, redis_killed),
    Fault("disk_full", "disk", "full: uploads", None, disk_full_for_real),
    Fault("disk_fails_uploads", "disk", "EIO: uploads", None, disk_fails_uploads("EIO", 503, "storage_unavailable")),
    Fault("disk_fills_up_in_uploads", "disk", "ENOSPC: uploads", None, disk_fails_uploads("ENOSPC", 507, "storage_full")),
    Fault("disk_fails_a_job", "disk", "EIO on objects in mid-run", 90, disk_fails_a_job("EIO", "objects")),
    Fault("disk_fills_up_in_a_job", "disk", "ENOSPC on all data in mid-run", 90, disk_fails_a_job("ENOSPC", "")),
    Fault("disk_is_slow", "disk", "a second for each call: uploads, a job in mid-run", None, disk_is_slow),
    Fault("disk_hangs", "disk", "calls on objects hang: the gateway's other requests", 10, hung_disk.act),
    Fault("clock_ahead", "clock", "a worker's is an hour ahead", None, clock_moved(3600)),
    Fault("clock_behind", "clock", "a worker's is an hour behind", None, clock_moved(-3600)),
    Fault("cancel_queued", "cancel", "of a queued job", 6, cancelled("queued")),
    Fault("cancel_starting", "cancel", "of one that begins", 6, cancelled("starting")),
    Fault("cancel_mid_step", "cancel", "of one in mid-run", 6, cancelled("mid-step")),
    Fault("cancel_in_a_checkpoint", "cancel", "of one whose state is being written", 6, cancelled_in_a_checkpoint),
    Fault("cancel_at_the_end", "cancel", "of one that ends", 6, cancelled("finishing")),
]
