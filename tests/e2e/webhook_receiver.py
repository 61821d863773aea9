"""A receiver of webhooks beside a live platform."""

import contextlib
import os
import shutil
import subprocess
import tempfile

from live_platform import ROOT

RECEIVER = os.path.join(ROOT, "tests/integration/webhooks/receiver.py")


@contextlib.contextmanager
def receiver():
    """(port, file of requests) of a receiver that the platforms started meanwhile may ask and trust."""
    directory = tempfile.mkdtemp(prefix="finetuned-receiver-")
    os.chmod(directory, 0o755)  # the platform, which may be another user, reads the certificate
    process = subprocess.Popen([RECEIVER, directory], stdout=subprocess.PIPE, text=True)
    try:
        port = int(process.stdout.readline())
        os.environ["FINETUNED_WEBHOOKS_ALLOWED_HOSTS"] = f"localhost:{port}"
        os.environ["FINETUNED_WEBHOOKS_CA_FILE"] = os.path.join(directory, "cert.pem")
        yield port, os.path.join(directory, "requests")
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(directory, ignore_errors=True)
