"""What is found out about this machine: once for people, and beside what each stage took."""

import platform
from functools import cache
from pathlib import Path

import psutil

from palate.records.machine import Machine

_CPUINFO = Path("/proc/cpuinfo")


@cache
def processor_name() -> str:
    """The processor as its maker calls it, as far as the system says; else its architecture."""
    lines = _CPUINFO.read_text("utf-8", "replace").splitlines() if _CPUINFO.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(filter(None, names), "") or platform.processor() or platform.machine()


def this_machine(device: str) -> Machine:
    """This machine, and the device that a stage with `compute.device` computes on; needs torch."""
    import torch

    from palate.models.precision import has_fast_bf16, pick_device

    picked = pick_device(device)
    is_cuda = picked.type == "cuda"
    return Machine(
        processor=processor_name(),
        cores=psutil.cpu_count() or 1,
        memory_mib=psutil.virtual_memory().total / 2**20,
        device=torch.cuda.get_device_name(picked) if is_cuda else picked.type,
        fast_bf16=has_fast_bf16(picked),
        torch=str(torch.__version__),
    )
