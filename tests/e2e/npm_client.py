"""The official `openai` npm client for the tests that run it: installed from package-lock.json, its results told."""

import os
import re
import subprocess
import sys

HERE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "conformance")


def has(command):
    return subprocess.run(["sh", "-c", f"command -v {command}"], stdout=subprocess.DEVNULL).returncode == 0


def install_or_skip(test):
    """Ends the process with a line `skip - TEST: REASON` where the client is not there and cannot be had."""
    def skip(reason):
        print(f"skip - {test}: {reason}")
        sys.exit(0)

    for command in ("node", "npm"):
        if not has(command):
            skip(f"there is no {command}: deploy/install-packages --test")
    if os.path.isdir(os.path.join(HERE, "node_modules", ".package-lock.json")):
        return
    installed = subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=HERE, stdin=subprocess.DEVNULL,
                               capture_output=True, text=True, timeout=300)
    if installed.returncode != 0:
        skip("npm ci could not install the client: " + installed.stderr.strip().split("\n")[-1])


def run(scripts, environment, timeout):
    """Runs the SCRIPTS' tests (tests/conformance) and prints a line each; the exit status."""
    ran = subprocess.run(["node", "--test", "--test-reporter=tap", *scripts], cwd=HERE, timeout=timeout,
                         env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True)
    print(ran.stdout, file=sys.stderr)
    results = [(outcome, name)
               for outcome, name in re.findall(r"^ *((?:not )?ok) \d+ - (.*?)(?: # .*)?$", ran.stdout, re.M)
               if os.path.basename(name) not in scripts]
    for outcome, name in results:
        print(f"{outcome} - {name}")
    if not results:
        print("not ok - the client's tests ran")
    return ran.returncode


def validate(script, specification, exchanges):
    """Holds what client.mjs kept against a specification, by validate.mjs (OpenAI's file) or own_document.mjs (ours, at a
    gateway's URL): a line for each of its operations; the exit status."""
    return subprocess.run(["node", script, specification, exchanges], cwd=HERE, timeout=300).returncode
