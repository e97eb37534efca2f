"""The machine that a stage was made on."""

from palate.records.base import Record


class Machine(Record):
    """What computes: `device` is the accelerator's name, or "cpu"; memory is the system's, in MiB.

    >>> Machine(processor="Xeon", cores=2, memory_mib=8192, device="cpu", fast_bf16=False,
    ...         torch="2.13.0").text
    'Xeon, 2 cores, 8.0 GiB of memory; device cpu, no fast bf16; torch 2.13.0'
    """

    processor: str
    cores: int
    memory_mib: float
    device: str
    fast_bf16: bool
    torch: str

    @property
    def text(self) -> str:
        """All of it in a line."""
        cores = "1 core" if self.cores == 1 else f"{self.cores:,} cores"
        memory = f"{self.memory_mib / 1024:,.1f} GiB of memory"
        bf16 = "fast bf16" if self.fast_bf16 else "no fast bf16"
        here = f"{self.processor}, {cores}, {memory}"
        return f"{here}; device {self.device}, {bf16}; torch {self.torch}"
