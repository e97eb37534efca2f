#!/bin/sh
# transformers 5.23.0 writes, transformers 4.57.3 reads.
#
# save_pretrained of 5.23.0 writes the base of rotary positions as rope_parameters.rope_theta and
# no longer as rope_theta. 4.57.3 does not know that key and takes its default of 10,000: the
# folder loads without an error or a warning and is another model.
#
# One would guess that a folder in "the Hugging Face format" is the same model in every release
# that opens it, or that an older one says what it does not understand. It matters because most
# models have another base (Llama 3: 500,000, Qwen: 1,000,000) and servers pin older releases.
#
# palate depends on it in palate/models/spelling.py, which writes both spellings; the check below
# ends with the same folder after that.
set -e
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv new
new/bin/pip install --quiet torch==2.13.0 transformers==5.23.0
python3 -m venv old
old/bin/pip install --quiet torch==2.13.0 transformers==4.57.3
new/bin/python - <<'PYTHON'
import torch
from transformers import LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=100, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
    num_attention_heads=4, initializer_range=0.1,
    rope_parameters={"rope_type": "default", "rope_theta": 1e6},
)
network = LlamaForCausalLM(config).eval()
network.save_pretrained("model")
with torch.no_grad():
    torch.save(network(torch.arange(3, 73)[None]).logits, "logits.pt")
PYTHON
old/bin/python - <<'PYTHON'
import json
import sys

import torch
import transformers


def gap():
    network = transformers.AutoModelForCausalLM.from_pretrained("model", dtype=torch.float32)
    with torch.no_grad():
        logits = network(torch.arange(3, 73)[None]).logits
    expected = torch.load("logits.pt")
    agree = (logits.argmax(-1) == expected.argmax(-1)).float().mean()
    print(f"rope_theta {network.config.rope_theta:,.0f}: logits differ by up to "
          f"{(logits - expected).abs().max():.2g}, argmax agrees at {agree:.0%} of 70 positions")
    return float((logits - expected).abs().max())


config = json.load(open("model/config.json"))
print("transformers", config["transformers_version"], "wrote", config["rope_parameters"],
      "and rope_theta:", config.get("rope_theta"))
print("transformers", transformers.__version__, "reads:")
as_written = gap()
json.dump(config | {"rope_theta": 1e6}, open("model/config.json", "w"))
print("with the older key added:")
mended = gap()
sys.exit(0 if as_written > 0.01 > 1e-4 > mended else "the behavior has changed")
PYTHON
