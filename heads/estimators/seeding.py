"""Seeds for code that draws from the global random states, which all threads share."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

_lock = threading.Lock()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch on the CPU for the code inside; afterwards, the states of torch, NumPy and Python are as before.

    One thread at a time is inside, the others wait.
    """
    with _lock, torch.random.fork_rng(devices=[]):
        python, arrays = random.getstate(), np.random.get_state()
        torch.default_generator.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(arrays)
