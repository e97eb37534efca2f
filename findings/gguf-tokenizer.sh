#!/bin/sh
# transformers 5.23.0, gguf 0.19.0.
#
# A GGUF file names the rule by which its tokenizer splits text (tokenizer.ggml.pre) and lists its
# tokens. AutoTokenizer.from_pretrained(folder, gguf_file=...) has a table of rules, and for a rule
# that is not in it (here "smollm", that of SmolLM2: split off every digit, then as GPT-2) it takes
# GPT-2's rule without a word: two spaces before a digit are other tokens than in training. And to
# a vocabulary without <|endoftext|> it adds that token, with an id beyond the embeddings.
#
# One would guess that the tokenizer of the file is the tokenizer of the model, or that loading it
# fails. It matters because nothing fails: prompts with aligned numbers are tokenized as the model
# never saw them, and a text with <|endoftext|> indexes past the embedding table.
#
# palate depends on it in palate/models/gguf.py, which puts the file's own rule in place, drops the
# token, and refuses rules that it does not know.
set -e
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet torch==2.13.0 transformers==5.23.0 gguf==0.19.0 accelerate==1.12.0
venv/bin/python - <<'PYTHON'
import sys

import gguf
import numpy
import transformers

letters = [chr(c) for c in (*range(33, 127), *range(161, 173), *range(174, 256))]
space = "\u0120"  # how byte-level vocabularies write a space
tokens = ["<unk>", "<|im_start|>", "<|im_end|>", *letters, space, "\u010a", space * 2]

file = gguf.GGUFWriter("tiny.gguf", "llama")
file.add_context_length(128)
file.add_embedding_length(32)
file.add_block_count(1)
file.add_feed_forward_length(64)
file.add_head_count(4)
file.add_head_count_kv(4)
file.add_layer_norm_rms_eps(1e-5)
file.add_rope_freq_base(10000.0)
file.add_vocab_size(len(tokens))
file.add_tokenizer_model("gpt2")
file.add_tokenizer_pre("smollm")
file.add_token_list(tokens)
file.add_token_types([3, 3, 3, *[1] * (len(tokens) - 3)])
file.add_token_merges([f"{space} {space}"])
file.add_bos_token_id(1)
file.add_eos_token_id(2)
file.add_unk_token_id(0)
file.add_tensor("token_embd.weight", numpy.zeros((len(tokens), 32), dtype=numpy.float32))
file.write_header_to_file()
file.write_kv_data_to_file()
file.write_tensors_to_file()
file.close()

tokenizer = transformers.AutoTokenizer.from_pretrained(".", gguf_file="tiny.gguf")
split = tokenizer.convert_ids_to_tokens(tokenizer("a  7")["input_ids"])
beyond = [token for token, number in tokenizer.get_vocab().items() if number >= len(tokens)]
print("transformers", transformers.__version__, "gguf 0.19.0")
print("rule in the file: smollm; 'a  7' is split as", split)
print("by that rule it would be", ["a", space * 2, "7"])
print("tokens in the file:", len(tokens), "and beyond them:", beyond)
same = split == ["a", space, space, "7"] and beyond == ["<|endoftext|>"]
sys.exit(0 if same else "the behavior has changed")
PYTHON
