"""A real S3 server for the tests that need one: s3rver from tests/conformance/package-lock.json, behind a proxy that checks
signatures and checksums, and can fail (tests/faults/s3_proxy.py)."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import npm_client
from live_platform import ROOT, free_port

sys.path.insert(0, os.path.join(ROOT, "tests", "faults"))

from s3_proxy import Proxy  # noqa: E402

BUCKET = "tests"
KEY = SECRET = "S3RVER"  # what s3rver knows


# OpenSSL 3 has no DES, by which s3rver makes its continuation tokens; thrice with one key is the same.
DES = ("const crypto = require('crypto'); for (const name of ['createCipheriv', 'createDecipheriv']) { const make = crypto[name];"
       " crypto[name] = (how, key, iv) => how === 'des' ? make('des-ede3-cbc', Buffer.concat([key, key, key]), iv) : make(how, key, iv) } ")


class S3Server:
    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="finetuned-s3-")
        self.port = free_port()

    def __enter__(self):
        script = DES + ("const S3rver = require('s3rver'); new S3rver({address: '127.0.0.1', port: %d, silent: true, directory: '%s',"
                  " configureBuckets: [{name: '%s'}]}).run().catch(error => { console.error(error); process.exit(1) });"
                  % (self.port, self.directory, BUCKET))
        self.process = subprocess.Popen(["node", "-e", script], cwd=npm_client.HERE, stdout=sys.stderr)
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
                break
            except OSError:
                assert self.process.poll() is None and time.monotonic() < deadline, "s3rver does not start"
                time.sleep(0.05)
        self.proxy = Proxy(self.port, SECRET)
        return self

    def __exit__(self, *_):
        self.proxy.close()
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def settings(self, prefix="site/"):
        """FINETUNED_* variables of a platform on this bucket, through the proxy."""
        return {"FINETUNED_STORAGE_KIND": "s3", "FINETUNED_STORAGE_S3_ENDPOINT": self.proxy.url, "FINETUNED_STORAGE_S3_BUCKET": BUCKET,
                "FINETUNED_STORAGE_S3_PREFIX": prefix, "FINETUNED_STORAGE_S3_ACCESS_KEY_ID": KEY,
                "FINETUNED_STORAGE_S3_SECRET_ACCESS_KEY": SECRET, "FINETUNED_STORAGE_S3_TIMEOUT_SECONDS": "2"}
