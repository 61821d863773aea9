#!/usr/bin/python3
"""The box's fp32 matrix products by torch.mm: a JSON line, GFLOP/s of each shape, warm, the best of many.

    torch_mm.py THREADS ROWSxINNERxCOLUMNS..."""

import json
import sys
import time

import torch


def best_rate(rows, inner, columns, seconds):
    a, b = torch.randn(rows, inner), torch.randn(inner, columns)
    out = torch.mm(a, b)
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        torch.mm(a, b, out=out)
        best = min(best, time.perf_counter() - start)
    return 2 * rows * inner * columns / best / 1e9


def main():
    torch.set_num_threads(int(sys.argv[1]))
    print(json.dumps({shape: best_rate(*(int(size) for size in shape.split("x")), 1.0) for shape in sys.argv[2:]}))


if __name__ == "__main__":
    main()
