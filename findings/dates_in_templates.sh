#!/bin/bash
# transformers 5.23.0: the date that a chat template writes cannot be handed in.
#
# Behavior: apply_chat_template passes keyword arguments on to the template, and they win over
# names that the template would see anyway; but every argument is first rebuilt out of plain JSON
# types, and a function becomes the text "<function>". A `strftime_now` of one's own therefore does
# not set the date: the template calls a text, and fails with "'str' object is not callable". A
# `date_string` changes the date only of templates that ask for that name (Llama 3 does, most do
# not) and is ignored by others without a word. A macro of that name before the template works.
#
# A good engineer would guess: "Additional kwargs to pass to the template renderer" lets a caller
# fix the clock, as it lets one set date_string, or that nothing but the clock can.
#
# Why it matters: a run that is resumed after midnight trains on other prompts, and two runs of one
# recipe on two days differ, with nothing to see in either.
#
# palate depends on it in palate/models/templates.py:on_day, which puts such a macro in front.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q transformers==5.23.0 tokenizers==0.23.3 jinja2==3.1.6
cat > "$folder/dates.py" <<'PYTHON'
from datetime import datetime

import transformers
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

print("transformers", transformers.__version__)
backend = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
TEMPLATE = "Today is {{ strftime_now('%d %B %Y') }}.{% for m in messages %}{{ m.content }}{% endfor %}"
chat = [{"role": "user", "content": "Hi"}]


def written(template=TEMPLATE, **more):
    try:
        return tokenizer.apply_chat_template(chat, chat_template=template, tokenize=False, **more)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


today = datetime.now().strftime("%d %B %Y")
macro = "{%- macro strftime_now(format) -%}09 May 2026{%- endmacro -%}"
cases = {
    "as it is": (written(), f"Today is {today}.Hi"),
    "date_string='09 May 2026'": (written(date_string="09 May 2026"), f"Today is {today}.Hi"),
    "strftime_now=<a function>": (
        written(strftime_now=lambda format: "09 May 2026"),
        "TypeError: 'str' object is not callable",
    ),
    "strftime_now shown": (written("{{ strftime_now }}", strftime_now=print), None),
    "a macro in front": (written(macro + TEMPLATE), "Today is 09 May 2026.Hi"),
}
for name, (found, expected) in cases.items():
    print(f"{name:28} {found}")
    if expected is not None and found != expected:
        raise SystemExit(f"the behavior has changed: {name} gave {found!r}, not {expected!r}")
if not cases["strftime_now shown"][0].startswith("<"):
    raise SystemExit("the behavior has changed: a function reaches the template")
PYTHON
"$folder/venv/bin/python" "$folder/dates.py"
