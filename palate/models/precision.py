"""Where and in which precision a stage computes: master weights are fp32, matmuls may be bf16."""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

Precision = Literal["fp32", "bf16"]


def pick_device(name: str) -> torch.device:
    """The torch device of a name; `auto` is the first CUDA device if there is one, else the CPU."""
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"compute.device={name!r} is no device: use `auto` or `cpu`") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"no CUDA device for compute.device={name!r}: use `auto` or `cpu`")
    return device


def has_fast_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 matrices in hardware.

    CPUs are judged by instruction set (AMX tiles or AVX512-BF16), not by a stopwatch: a timing on a
    busy machine would let two runs of one recipe differ. Emulated bf16 is slower than fp32. oneDNN,
    which multiplies, may be told to leave instructions alone (`ONEDNN_MAX_CPU_ISA=AVX2`): so is
    this.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        # torch has no public query before get_capabilities(); these exist since 2.4.
        hardware = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
        return hardware and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return False


def precision_on(device: torch.device, precision: Literal["auto", "fp32", "bf16"]) -> Precision:
    """The precision of matrix products; `auto` is bf16 where fast."""
    if precision == "auto":
        return "bf16" if has_fast_bf16(device) else "fp32"
    return precision


def autocast(
    device: torch.device, precision: Literal["auto", "fp32", "bf16"]
) -> AbstractContextManager[object]:
    """A context in which matrix products run in the given precision."""
    if precision_on(device, precision) == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
