"""Jobs whose workers are killed by SIGKILL at random points, and jobs with the same rows and settings that are left alone: they
have to come to the same bytes, the same optimizer state, the same bill.

Half of the points are moments of the run (of a step, mostly, in mid-epoch), half are calls inside of a checkpoint: a write before
its first byte and half-way, an fsync, a rename, in the worker's own directory and in the object store. Each job is killed
once, but for some that are killed at several moments, each time after a further state was saved (the third crash without one
is taken for the job's own doing, and fails it)."""

import hashlib
import os
import random
import signal
import struct
import subprocess
import sys
import time
import uuid

from stage import ENDED, HERE, chat_rows, eventually

ROWS = 240
HYPERPARAMETERS = {"n_epochs": 3, "batch_size": 4, "lora_rank": 4, "lora_dropout": 0.1}
STATE_STEPS = 25
WORKER = {"FINETUNED_WORKER_LEASE_SECONDS": "6", "FINETUNED_WORKER_HEARTBEAT_SECONDS": "1",
          "FINETUNED_WORKER_STATE_SECONDS": "0", "FINETUNED_WORKER_STATE_STEPS": str(STATE_STEPS)}
CALLS = [(kind, place) for kind in ("half-write", "fsync", "rename", "write") for place in ("/step-", "/objects/")]
MOST_MISSED = 10  # kills that came after the end of their job


class StateFile:
    """What trainer/training/run_state.h writes: `step`, and `digest` of all but the times that the steps took."""

    VERSION = 0x4654535400000002
    STEP = "qqddd????ddqqqdd?Q"  # trainer/training/run.h's StepMetrics; a ? has a double behind it where it is true
    TIMES = (14, 15, 16, 17)     # seconds, tokens_per_second, gemm_share, memory_bytes

    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = file.read()
        self.at = 0
        self.is_state = len(self.data) > 8 and self.take("Q") == self.VERSION
        if self.is_state:
            self.read()

    def take(self, kind):
        value, = struct.unpack_from("<" + kind, self.data, self.at)
        self.at += struct.calcsize("<" + kind)
        return value

    def text(self, of=1):
        size = self.take("Q") * of
        self.at += size
        return self.data[self.at - size:self.at]

    def step_fields(self):
        for place, kind in enumerate(self.STEP):
            value = self.take(kind)
            if kind == "?" and value:
                value = self.take("d")
            if place not in self.TIMES:
                yield value

    def read(self):
        self.origin = [self.text() for _ in range(5)]
        parts = [self.origin, self.take("q"), self.take("?")]
        steps = [tuple(self.step_fields()) for _ in range(self.take("Q"))]
        self.step = steps[-1][0]
        parts += [steps, self.take("?"), self.take("Q")]
        optimizer = [hashlib.sha256(self.text(4)).hexdigest() for _ in range(3)]  # values, both moments
        assert self.at + 64 == len(self.data), "the state's format has changed: this reads another"
        self.digest = hashlib.sha256(repr((parts, optimizer)).encode()).hexdigest()


class KilledRuns:
    def __init__(self, stage, rng):
        self.stage, self.rng = stage, rng
        self.kills = {}   # of a job
        self.states = {}  # digests by the step that they follow
        self.told = []
        self.missed = 0  # kills that came after the end of their jobs
        self.priority = -10
        self.library = os.path.join(stage.directory, "die_at_call.so")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", self.library, os.path.join(HERE, "die_at_call.c"), "-ldl"], check=True)
        self.file = stage.checked_file(chat_rows(ROWS, words=5))
        assert self.file["status"] == "processed", self.file
        intake = stage.running("intake")
        os.kill(intake, signal.SIGSTOP)  # whose sweep removes states that nothing goes on from any more
        stage.held.append(intake)
        stage.kill_and_hold("worker")

    # Jobs and workers.

    def create(self, priority=0):
        status, job = self.stage.request("POST", "/v1/fine_tuning/jobs", {
            "model": "tiny", "training_file": self.file["id"], "seed": 1, "priority": priority, "metadata": {"tag": uuid.uuid4().hex},
            "method": {"type": "supervised", "supervised": {"hyperparameters": HYPERPARAMETERS}}})
        assert status == 200, (status, job)
        return job["id"]

    def next_victim(self):
        """One more job, which goes before those that wait: it is the one that the next worker claims."""
        assert self.priority <= 10, "no more priorities: plan fewer jobs"
        self.priority += 1
        return self.create(self.priority - 1)

    def worker(self, **preloaded):
        environment = dict(WORKER)
        if preloaded:
            environment["LD_PRELOAD"] = self.library
            environment["FINETUNED_TEST_DIE_BELOW"] = os.path.join(self.stage.directory, "data")
            environment.update({"FINETUNED_TEST_DIE_" + name.upper(): str(value) for name, value in preloaded.items()})
        return self.stage.role("worker", environment)

    def dismiss(self, worker, number=signal.SIGKILL):
        worker.send_signal(number)
        worker.wait(60)
        self.stage.extra.remove(worker)

    def row(self, job, columns):
        return self.stage.sql(f"SELECT {columns} FROM job WHERE id = '{job}'")

    def run_to_the_end(self, jobs, worker):
        for job in jobs:
            eventually(lambda job=job: self.row(job, "state") in ENDED, 300, f"{job} ends")
            assert self.row(job, "state") == "succeeded", self.row(job, "state || ' ' || coalesce(error_code || error_message, '')")
        self.dismiss(worker, signal.SIGTERM)

    def run_whole(self, count):
        """So many jobs that are left alone. Sets what the others are to come to, and the calls that they make."""
        tally = os.path.join(self.stage.directory, "calls")
        with open(tally, "w", encoding="utf-8"):
            os.chmod(tally, 0o666)
        self.whole = [self.create() for _ in range(count)]
        self.run_to_the_end(self.whole, self.worker(tally=tally))
        with open(tally, encoding="utf-8") as file:
            calls = [line.split(" ", 1) for line in file]
        self.calls = {(kind, place): sum(kind.removeprefix("half-") == made and place in path for made, path in calls) // count
                      for kind, place in CALLS}
        assert all(self.calls.values()), f"the library does not see them: {self.calls}"
        self.seconds = min(float(self.row(job, "extract(epoch FROM finished_at - started_at)")) for job in self.whole)
        self.outcome = self.outcome_of(self.whole[0])
        for job in self.whole[1:]:
            assert self.outcome_of(job) == self.outcome, "two jobs that were left alone differ"
        origin = self.state_of(self.whole[0]).origin
        for where, _, names in os.walk(os.path.join(self.stage.directory, "data", "objects")):
            for state in (StateFile(os.path.join(where, name)) for name in names):
                if state.is_state and state.origin == origin:
                    assert self.states.setdefault(state.step, state.digest) == state.digest, f"two states after step {state.step}"

    # Kills.

    def is_running(self, job):
        return self.row(job, "state") == "running"

    def note(self, job, how):
        self.kills[job] = self.kills.get(job, 0) + 1
        self.told.append(f"{how}, after step {self.row(job, 'step')} and a state of {self.row(job, 'coalesce(state_step, 0)')}")

    def kill_at_a_moment(self, job, part=1.0, further=False):
        """Somewhen in the first `part` of the run; in one that goes on from a state, or has to get `further` than its last run, so long
        behind the next state at most. False: it had ended before."""
        saved = int(self.row(job, "coalesce(state_step, 0)"))
        worker = self.worker()
        eventually(lambda: self.is_running(job) or self.row(job, "state") in ENDED, 60, "the job begins")
        if saved or further:
            eventually(lambda: int(self.row(job, "coalesce(state_step, 0)")) > saved or not self.is_running(job), 60, "a further state")
        time.sleep(self.rng.uniform(0, self.seconds * part))
        was_running = self.is_running(job)
        self.dismiss(worker)
        if was_running and self.is_running(job):  # it may have ended just before the kill
            self.note(job, "at a moment")
            return True
        return False

    def kill_in_a_call(self, job, kind, place):
        number = self.rng.randint(1, self.calls[kind, place])
        worker = self.worker(at=number, named=place, **{"in": kind})
        eventually(lambda: worker.poll() is not None or self.row(job, "state") in ENDED, 60, "the worker is killed")
        killed = worker.poll() == -signal.SIGKILL and self.is_running(job)
        if worker.poll() is None:
            self.dismiss(worker)
        else:
            self.stage.extra.remove(worker)
        if killed:
            self.note(job, f"in {kind} {number} of {self.calls[kind, place]} below *{place}*")
        return killed

    def kill_once(self, kill):
        for _ in range(MOST_MISSED):
            job = self.next_victim()
            if kill(job):
                return job
            self.missed += 1
        raise AssertionError(f"{MOST_MISSED} kills came after the end of their jobs")

    def kill_several_times(self, times):
        """One job. Where it ends between two of its kills, as it may on a busy machine, another is taken."""
        early = 1 / (times + 1)
        for _ in range(MOST_MISSED):
            job = self.kill_once(lambda victim: self.kill_at_a_moment(victim, early))
            if all(self.kill_again(job, early / 2) for _ in range(times - 1)):
                return
            self.missed += 1
        raise AssertionError(f"{MOST_MISSED} jobs ended between two of their kills")

    def kill_again(self, job, part):
        """Once it has saved a state: one that is killed three times before is given up."""
        eventually(lambda: self.row(job, "state") == "queued", 60, "the job is queued again")
        return self.kill_at_a_moment(job, part, further=True)

    # What has to be equal.

    def object_path(self, object_id):
        return os.path.join(self.stage.directory, "data", "objects", object_id[:2], object_id[2:])

    def state_of(self, job):
        return StateFile(self.object_path(self.row(job, "state_object")))

    def outcome_of(self, job_id):
        """All of a job that must not depend on who ran it how often."""
        stage = self.stage
        eventually(lambda: self.row(job_id, "settled_at IS NOT NULL") == "t", 30, "it is settled")
        job = stage.look(job_id)
        status, bill = stage.request("GET", f"/v1/fine_tuning/jobs/{job_id}/statement?limit=1000")
        assert status == 200 and bill["final"], bill
        rows = [tuple(row[name] for name in ("step", "tokens", "trained_tokens", "amount")) for row in bill["data"]]
        transfers = stage.sql(f"SELECT string_agg(kind || ' ' || amount, ', ' ORDER BY kind) FROM transfer WHERE job_id = '{job_id}'")
        checkpoints = stage.sql(f"SELECT string_agg(step || ' ' || trained_tokens || ' ' || sha256, ', ' ORDER BY step)"
                                f" FROM job_checkpoint WHERE job_id = '{job_id}'")
        told = stage.steps(job_id)
        assert sorted(told) == list(range(1, len(rows) + 1)), "a step was told twice, or never"
        return {"adapter": stage.adapter(job), "checkpoints": checkpoints, "tokens": job["trained_tokens"], "bill": rows,
                "amount": bill["amount"], "transfers": transfers}

    def compare(self, job):
        outcome = self.outcome_of(job)
        for name, value in self.outcome.items():
            assert outcome[name] == value, f"{job}: {name} is {outcome[name]} instead of {value}"
        runs = int(self.row(job, "lease_epoch"))  # a worker whose job ended before its kill may have been at another one by then
        assert 0 <= runs - self.kills[job] - 1 <= self.missed, f"{self.kills[job]} kills and {runs} runs of {job}"
        state = self.state_of(job)
        for _ in range(MOST_MISSED):
            if state.step in self.states:
                break
            self.run_whole(1)  # a state that is due while something is written is saved some steps later
        assert state.step in self.states, f"no job that was left alone has saved its state after step {state.step}"
        assert state.digest == self.states[state.step], f"{job}: another state of the optimizer after step {state.step}"
        return state.step


def act(stage, whole):
    runs = KilledRuns(stage, random.Random(stage.seed))
    runs.run_whole(2)
    several, times, moments, calls = (2, 3, 6, CALLS) if whole else (1, 2, 1, runs.rng.sample(CALLS, 2))
    for kind, place in calls:
        runs.kill_once(lambda job, kind=kind, place=place: runs.kill_in_a_call(job, kind, place))
    for _ in range(moments):
        runs.kill_once(runs.kill_at_a_moment)
    for _ in range(several):
        runs.kill_several_times(times)
    runs.run_to_the_end(runs.kills, runs.worker())
    steps = [runs.compare(job) for job in runs.kills]
    kills = sum(runs.kills.values())
    print(*runs.told, sep="\n", file=sys.stderr)
    print(f"{kills} kills of {len(steps)} jobs: adapters, {len(steps)} states (after steps {sorted(steps)}), checkpoints, statements and"
          f" transfers are those of jobs left alone, {runs.outcome['amount']} nano-dollars each", file=sys.stderr, flush=True)
    assert kills >= len(calls) + moments + several * times, f"{kills} kills"
