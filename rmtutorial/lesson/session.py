"""Start a notebook: seeds, threads, profile, quiet logs, plot style. Called, never run on import."""

import ctypes
import gc
import os
import random
import sys
import warnings

from rmtutorial.machine import look_around, usable_cores

# Okabe & Ito's colors, told apart by color-blind readers. Chosen is blue and rejected orange everywhere.
OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000")
CHOSEN, REJECTED = OKABE_ITO[:2]


def start(seed=0, threads=None):
    """Prepare this process for a notebook and print one line about the machine.

    Args: seed of Python, numpy and torch; threads for torch (default: the cores this process may use).
    Returns: Machine.
    """
    import numpy
    import torch

    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)
    torch.set_num_threads(threads or usable_cores())
    _quiet_logs()
    _plot_style()
    configure_ic()
    machine = look_around()
    print(machine)
    return machine


def let_go():
    """Give memory that nothing uses any more back to the system: on Linux the allocator would keep it for this process."""
    gc.collect()
    if sys.platform == "linux":
        getattr(ctypes.CDLL(None), "malloc_trim", bool)(0)  # of glibc; elsewhere there is nothing to call


def configure_ic():
    """Let icecream print `name: value` to stdout, without prefix or color, tensors as shape and dtype."""
    import torch
    from icecream import argumentToString, ic

    argumentToString.register(torch.Tensor, lambda t: f"{tuple(t.shape)} {str(t.dtype).removeprefix('torch.')}")
    ic.configureOutput(prefix="", outputFunction=print, includeContext=False)
    return ic


def _quiet_logs():
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # it warns after a fork
    os.environ.setdefault("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")  # no token is wanted, and none is missed
    warnings.filterwarnings("ignore", message=".*IProgress not found.*")


def _plot_style():
    import matplotlib.pyplot as plt
    from cycler import cycler

    plt.rcParams.update(
        {
            "figure.figsize": (8, 3.6),
            "figure.dpi": 100,
            "figure.constrained_layout.use": True,
            "axes.prop_cycle": cycler(color=OKABE_ITO),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.alpha": 0.3,
            "font.size": 11,
        }
    )
