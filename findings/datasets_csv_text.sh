#!/bin/sh
# datasets 5.2.0 guesses the types of CSV cells and of JSON texts when a data set is loaded.
#
# Behaviour: a column whose cells all look like numbers becomes float64, so 9.00 comes back as 9.0
# and 007 as 7.0; the cells None, NA and nan of a column of words come back as missing. JSON texts
# in quotation marks that all look like ISO dates come back as datetimes.
# A good engineer would guess: a quoted JSON text is text, and a cell of a table of answers that says
# "9.00" or "None" can be compared with what a model wrote.
# Why it matters: an exact-match reward compares "9.0" with "9.00" and never pays; answers that say
# None vanish.
# Where palate depends on it: palate/store/tables.py asks for texts when it reads CSV from the Hub,
# and palate/store/formats/fields.py names the cause of a date.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q datasets==5.2.0 pandas==3.1.1
export HF_HOME="$folder/home" HF_HUB_OFFLINE=1
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import datetime
import sys
from importlib.metadata import version
from pathlib import Path

from datasets import load_dataset

tables, texts = Path(sys.argv[1], "tables"), Path(sys.argv[1], "texts")
tables.mkdir()
texts.mkdir()
(tables / "train.csv").write_text("price,word\n9.00,yes\n007,None\n7.50,NA\n")
(texts / "train.jsonl").write_text('{"day": "2024-01-02"}\n{"day": "2024-02-03"}\n')
rows = load_dataset(str(tables), split="train")
day = load_dataset(str(texts), split="train")[0]["day"]
print("datasets", version("datasets"), "pandas", version("pandas"))
print("cells 9.00, 007, 7.50 are", rows["price"][:])
print("cells yes, None, NA are", rows["word"][:])
print('the JSON text "2024-01-02" is', repr(day))
assert rows["price"][:] == [9.0, 7.0, 7.5], "numbers are kept as texts"
assert rows["word"][:] == ["yes", None, None], "words are kept as texts"
assert day == datetime.datetime(2024, 1, 2), "a text is kept as text"
PYTHON
