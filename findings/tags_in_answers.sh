#!/bin/bash
# transformers 5.23.0: sanitize_control_tokens=True takes thoughts out of answers.
#
# Behavior: the option protects against control tokens that people type. Which tokens those are is
# inferred: special ones, and every added token that stands in the text of the chat template, even
# in a comparison or in a split. For a template that mentions <think> the tags of a thought in an
# assistant turn are therefore spelled out in letters (the ids of "<", "think", ">"), not the one
# token that the model writes, while they decode to the same text. And the template sees the text
# with invisible marks around the tags: `content.startswith('<think>')` is False for content that
# starts with <think>, so a template that tests for thoughts takes its other branch. Special tokens
# and text without tags behave as without the option.
#
# A good engineer would guess: a safety option for what users type leaves answers of the assistant
# alone, and decoding ids to the right text proves that they are the right ids.
#
# Why it matters: a policy fine-tuned on demonstrations with thoughts learns to spell its tags, and
# stops writing the tokens by which servers find thoughts; every check of the text passes.
#
# palate depends on it in palate/models/templates.py:control_tokens, which names the control tokens
# itself, without pairs of tags.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q transformers==5.23.0 tokenizers==0.23.3 jinja2==3.1.6
cat > "$folder/tags.py" <<'PYTHON'
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

print("transformers", transformers.__version__)
letters = sorted(pre_tokenizers.ByteLevel.alphabet())
backend = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(letters)}, merges=[]))
backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
backend.decoder = decoders.ByteLevel()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>")
tokenizer.add_tokens([AddedToken("<think>"), AddedToken("</think>")])
TEMPLATE = (
    "{% for m in messages %}"
    "{{ '[thought]' if m.content.startswith('<think>') else '[plain]' }}"
    "{{ m.content }}{{ eos_token }}{% if '</think>' in m.content %}{% endif %}{% endfor %}"
)
answer = [{"role": "assistant", "content": "<think>hm</think>4"}]


def pieces(**more):
    ids = tokenizer.apply_chat_template(
        answer, chat_template=TEMPLATE, return_dict=False, **more
    )
    print(more or "default", tokenizer.convert_ids_to_tokens(ids), repr(tokenizer.decode(ids)))
    return tokenizer.convert_ids_to_tokens(ids), tokenizer.decode(ids)


def check(holds, what):
    if not holds:
        raise SystemExit(f"the behavior has changed: {what}")


plain, text = pieces()
check("<think>" in plain and text.startswith("[thought]<think>"), "the tag is no token")
spelled, text = pieces(sanitize_control_tokens=True)
check("<think>" not in spelled and "</think>" not in spelled, "the tags stay tokens")
check(text == "[plain]<think>hm</think>4</s>", "the template sees the text as it is")
tokenizer.chat_control_tokens = []
named, text = pieces(sanitize_control_tokens=True)
check(named == plain and text.startswith("[thought]"), "chat_control_tokens changes nothing")
PYTHON
"$folder/venv/bin/python" "$folder/tags.py"
