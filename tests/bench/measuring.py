"""What the benchmarks share: where and when they ran, commands with their time and peak memory, the engine's runs."""

import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

from make_case import ALL, SIZES, linear_layers

HERE = os.path.dirname(os.path.abspath(__file__))
WARM_UP = 2  # steps before the timed ones: PyTorch's allocator has settled after the second
CORES = len(os.sched_getaffinity(0))


def cpu_lines():
    with open("/proc/cpuinfo") as file:
        return [line.partition(":") for line in file.read().splitlines()]


def instruction_sets():
    flags = next((value.split() for name, _, value in cpu_lines() if name.strip() == "flags"), [])
    return [label for label, flag in (("AVX2", "avx2"), ("AVX-512", "avx512f")) if flag in flags]


def machine():
    name = next((value.strip() for name, _, value in cpu_lines() if name.strip() == "model name"), "unknown processor")
    return f"{name} ({', '.join(instruction_sets()) or 'no AVX2'}), {CORES} cores"


def commit():
    def git(*arguments):
        return subprocess.run(["git", "-C", HERE, *arguments], capture_output=True, text=True).stdout.strip()
    return (git("rev-parse", "--short", "HEAD") or "unknown") + ("+changes" if git("status", "--porcelain") else "")


def when_and_where(threads):
    """For --json; `told` puts it into words. A busy machine's figures are to be taken again: hence the load."""
    when = datetime.datetime.now(datetime.timezone.utc)
    return {"date": when.strftime("%Y-%m-%d"), "time": when.strftime("%H:%M UTC"), "commit": commit(), "machine": machine(),
            "threads": threads, "load_before": round(os.getloadavg()[0], 2)}


def told(where):
    return (f"{where['date']} {where['time']}, commit {where['commit']}, {where['machine']}, {where['threads']} threads, "
            f"load {where['load_before']} before")


def make_case(directory, **options):
    """make_case.py in a process of its own: a child starts with the peak memory of its parent, which is to stay small."""
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    subprocess.run([sys.executable, os.path.join(HERE, "make_case.py"), directory, *words], check=True)
    return directory


class Measured:
    """What a command printed, the seconds it took and its peak resident memory."""

    def __init__(self, command, environment=None):
        with tempfile.TemporaryFile() as errors:
            start = time.perf_counter()
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=environment)
            self.output = process.stdout.read().decode()
            _, status, usage = os.wait4(process.pid, 0)
            self.seconds = time.perf_counter() - start
            process.returncode = os.waitstatus_to_exitcode(status)
            process.stdout.close()
            if process.returncode != 0:
                errors.seek(0)
                said = errors.read().decode(errors="replace").strip()
                sys.exit(f"{' '.join(command)} ended with {process.returncode}: {said[-2000:]}")
        self.peak_mb = usage.ru_maxrss / 1024


class Training:
    """A `finetuned train` of a case: tokens and seconds of its timed steps, losses of all, seconds and peak memory of the
    whole command."""

    def __init__(self, program, case, work, steps, batch, threads, *options):
        log = os.path.join(work, "steps.jsonl")
        run = Measured([program, "train", "--base", f"{case}/base", "--tokens", f"{case}/rows.jsonl", "--init-adapter",
                        f"{case}/adapter", "--out", f"{work}/out", "--batch-size", str(batch), "--steps", str(steps + WARM_UP),
                        "--lr-scheduler", "constant", "--learning-rate", "1e-4", "--threads", str(threads),
                        "--no-epoch-checkpoints", "--log", log, *options])
        with open(log) as file:
            lines = [json.loads(line) for line in file]
        self.tokens = [line["tokens"] for line in lines[WARM_UP:]]
        self.seconds = [line["seconds"] for line in lines[WARM_UP:]]
        self.supervised = sum(line["supervised_tokens"] for line in lines[WARM_UP:]) / sum(self.tokens)
        self.losses = [line["loss"] for line in lines]
        self.whole_seconds = run.seconds
        self.peak_mb = run.peak_mb


class Rates:
    """Tokens/s over rounds that all train the same steps: of each step the median (or the best) of the rounds, then all
    tokens over all seconds, so that steps of unlike lengths weigh as they should."""

    def __init__(self):
        self.tokens, self.rounds = [], []

    def add(self, tokens, seconds):
        assert not self.tokens or tokens == self.tokens, "the rounds trained different steps"
        self.tokens = tokens
        self.rounds.append(seconds)

    def over(self, choose):
        return sum(self.tokens) / sum(choose(step) for step in zip(*self.rounds))

    def median(self):
        return self.over(statistics.median)

    def best(self):
        return self.over(min)


def weights(size):
    """(weights of the linear layers, weights of the head) of a size; the tied head counts as a head, once."""
    config = {**ALL, **SIZES[size]}
    return sum(outputs * inputs for _, outputs, inputs in linear_layers(config)), config["vocab_size"] * config["hidden_size"]


def table(header, rows):
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def write_json(path, result):
    if path:
        with open(path, "w") as file:
            json.dump(result, file, indent=1)
            file.write("\n")


def counts(text):
    """"128,256" -> [128, 256]; for argparse."""
    return [int(one) for one in text.split(",")]
