#!/bin/sh
# math-verify 0.9.0 grades with the default reading of a bare LaTeX reference.
#
# Behaviour: parse() reads LaTeX only between dollar signs or in a box. Of the bare reference
# "3\sqrt{13}" it keeps the number 3, so verify() finds the answer 3 right and the very same formula,
# written in a box, wrong. No error, no warning.
# A good engineer would guess: a column of LaTeX answers, as MATH has it, can be passed to parse()
# as it is, or parse() refuses what it does not read whole.
# Why it matters: as a reward it pays for wrong answers and not for right ones, for a fifth of the
# references of MATH, in silence.
# Where palate depends on it: palate/feedback/mathematics/reading.py puts references and answers
# between dollar signs, and asks whether each reference is right as its own answer.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q math-verify==0.9.0 latex2sympy2_extended==1.11.0 sympy==1.14.0 \
    antlr4-python3-runtime==4.13.2
"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

from math_verify import parse, verify

reference, same, part = r"3\sqrt{13}", r"$\boxed{3\sqrt{13}}$", r"$\boxed{3}$"
bare, wrapped = parse(reference), parse(f"${reference}$")
found = [verify(gold, parse(answer)) for gold in (bare, wrapped) for answer in (same, part)]
print("math-verify", version("math-verify"), "latex2sympy2_extended", version("latex2sympy2_extended"))
print("bare reference reads as", bare, "- same formula right:", found[0], "- 3 right:", found[1])
print("in dollar signs it reads as", wrapped, "- same formula right:", found[2], "- 3 right:", found[3])
assert found == [False, True, True, False], f"the behaviour has changed: {found}"
PYTHON
