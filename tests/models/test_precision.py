"""Devices and precision."""

import os
import subprocess
import sys

import pytest
import torch

from palate.models.precision import autocast, has_fast_bf16, pick_device

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_matrix_products_run_in_the_asked_precision_over_fp32_weights(precision, dtype):
    layer = torch.nn.Linear(4, 4)
    with autocast(CPU, precision):
        assert layer(torch.ones(2, 4)).dtype == dtype
    assert layer.weight.dtype == torch.float32


def test_auto_is_bf16_exactly_where_it_is_fast():
    expected = torch.bfloat16 if has_fast_bf16(CPU) else torch.float32
    with autocast(CPU, "auto"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == expected


def test_a_device_is_named_or_picked():
    assert pick_device("cpu") == CPU
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_missing_device_is_refused_with_a_remedy():
    with pytest.raises(ValueError, match="use `auto` or `cpu`"):
        pick_device("cuda:0")


def test_a_device_that_does_not_exist_is_refused_with_a_remedy():
    with pytest.raises(ValueError, match="'cudda' is no device: use `auto` or `cpu`"):
        pick_device("cudda")


def test_a_cpu_whose_products_are_limited_to_avx2_has_no_fast_bf16():
    """The variable is oneDNN's, which reads it once: hence another process."""
    asked = (
        "import torch; from palate.models.precision import has_fast_bf16, precision_on; "
        "cpu = torch.device('cpu'); print(has_fast_bf16(cpu), precision_on(cpu, 'auto'))"
    )
    told = subprocess.run(
        [sys.executable, "-c", asked],
        env=os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.split() == ["False", "fp32"]
