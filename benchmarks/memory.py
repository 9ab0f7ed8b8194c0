"""How much memory a call takes at its peak, beyond what was taken before it: arrays of NumPy, or tensors of PyTorch."""

import json
import os
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["peak", "peak_in_torch"]

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # PyTorch's profiler says on the terminal when it starts and stops


def peak(run: Callable[[], Any]) -> int:
    """Bytes, as NumPy tells them to tracemalloc; those of Python's own objects among them."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def peak_in_torch(run: Callable[[], Any]) -> int:
    """Bytes that PyTorch's allocator of the CPU gave out and did not get back, as its profiler notes them."""
    import torch

    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        run()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profile.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    taken = most = 0
    for event in sorted((e for e in events if e.get("name") == "[memory]"), key=lambda event: event["ts"]):
        taken += event["args"]["Bytes"]
        most = max(most, taken)
    return most
