"""A disk that hangs: calls on it do not return, and do not fail."""

import http.client
import threading
import time

from broken_disk import BrokenDisk, half_written
from stage import chat_rows, eventually

DEADLINE = 3  # seconds; gateway.storage_timeout_seconds
THREADS = 8  # gateway.storage_threads
ATTEMPTS = 12  # more than threads
SOON = 1  # what needs no object is answered within so many seconds


class Attempts:
    """Uploads and downloads at the same time: of each its status (None where it was cut), its error's code, and how long it took."""

    def __init__(self, stage, file):
        self.stage, self.file = stage, file
        self.uploads, self.downloads, self.failed = [], [], []
        self.threads = [threading.Thread(target=self.attempt, args=(each, kept)) for _ in range(ATTEMPTS)
                        for each, kept in ((self.upload, self.uploads), (self.download, self.downloads))]
        for thread in self.threads:
            thread.start()

    def attempt(self, act, kept):
        began = time.monotonic()
        try:
            status, code = act()
            kept.append((status, code, time.monotonic() - began))
        except Exception as error:
            self.failed.append(repr(error))

    def upload(self):
        status, answer = self.stage.upload(chat_rows(3000))
        return status, answer.get("error", {}).get("code")

    def download(self):
        status, data = content(self.stage, self.file)
        return (status, len(data)) if data is not None else (None, None)

    def join(self):
        for thread in self.threads:
            thread.join()
        assert not self.failed, self.failed
        assert len(self.uploads) == len(self.downloads) == ATTEMPTS, (self.uploads, self.downloads)


def content(stage, file):
    """(status, bytes) of a download; no bytes where it is cut off."""
    connection = http.client.HTTPConnection("127.0.0.1", stage.port, timeout=60)
    try:
        connection.request("GET", f"/v1/files/{file}/content", headers={"Authorization": "Bearer " + stage.environment["FINETUNED_API_KEY"]})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except http.client.IncompleteRead:
        return answer.status, None
    finally:
        connection.close()


def soon(what, ask):
    began = time.monotonic()
    status, answer = ask()
    took = time.monotonic() - began
    assert status == 200, (what, status, answer)
    assert took <= SOON, f"{what} took {took:.1f} s"
    return answer


def serves_the_rest(stage, job, seconds):
    """For so long, while the disk hangs. Jobs are made now and then."""
    until, next_job = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        soon("/healthz", lambda: stage.request("GET", "/healthz"))
        soon("GET of a job", lambda: stage.request("GET", f"/v1/fine_tuning/jobs/{job}"))
        soon("GET of the files", lambda: stage.request("GET", "/v1/files"))
        if time.monotonic() >= next_job:
            stage.jobs.append(soon("POST of a job", lambda: stage.request("POST", "/v1/fine_tuning/jobs", stage.body()))["id"])
            next_job = time.monotonic() + seconds / 2
        time.sleep(0.1)


def metric(stage, name):
    connection = http.client.HTTPConnection("127.0.0.1", stage.port, timeout=60)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    return [float(line.split()[1]) for line in lines if line.split()[0] == name]


def act(stage, whole):
    """The disk under a gateway's objects hangs, beneath more uploads and downloads than it has threads: they are answered with 503
    in time, everything else as ever; then the disk goes on, and nothing is lost or half made."""
    disk = BrokenDisk(stage, "objects")
    own, stage.port = stage.port, stage.gateway({**disk.environment, "FINETUNED_GATEWAY_STORAGE_TIMEOUT_SECONDS": str(DEADLINE)})
    rows = chat_rows(3000)
    try:
        job = stage.job()
        status, kept = stage.upload(rows, "kept.jsonl")
        assert status == 200, kept
        files = stage.sql("SELECT count(*) FROM file WHERE purpose = 'fine-tune'")
        disk.fail("HANG")
        attempts = Attempts(stage, kept["id"])
        serves_the_rest(stage, job, 60 if whole else 3 * DEADLINE)
        attempts.join()
        for status, code, took in attempts.uploads:
            assert (status, code) == (503, "storage_unavailable"), attempts.uploads
            assert took <= DEADLINE + 1, attempts.uploads
        for status, code, took in attempts.downloads:
            assert status in (None, 503), attempts.downloads  # cut where it had begun
            assert took <= DEADLINE + 1, attempts.downloads
        status, checks = stage.request("GET", "/readyz")
        assert (status, checks["checks"]["storage"]) == (503, "unavailable"), checks
        assert metric(stage, "finetuned_object_calls_abandoned") == [THREADS], metric(stage, "finetuned_object_calls_abandoned")
        assert len(stage.logged("the object store hangs")) == 1, stage.logged("the object store hangs")
        assert stage.sql("SELECT count(*) FROM file WHERE purpose = 'fine-tune'") == files, "a refused upload is seen"
        disk.mend()
        took = eventually(lambda: stage.ready(stage.port) and not half_written(stage), 30, "the gateway is ready, and has cleared up")
        assert len(stage.logged("the object store answers again")) == 1, stage.logged("the object store answers again")
        assert metric(stage, "finetuned_object_calls_abandoned") == [0], metric(stage, "finetuned_object_calls_abandoned")
        status, again = stage.upload(rows)
        assert status == 200, again
        for file in (kept, again):
            assert content(stage, file["id"]) == (200, rows), "other bytes come back"
        assert int(stage.sql("SELECT count(*) FROM file WHERE purpose = 'fine-tune'")) == int(files) + 1, "an upload happened late"
    finally:
        disk.mend()
        stage.port = own
    return took
