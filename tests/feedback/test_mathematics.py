"""What the verifier of mathematics takes for the answer, pays for and refuses."""

import gzip
import json
import re
import time
from pathlib import Path

import pytest

from palate.feedback.mathematics.answers import final_answer
from palate.feedback.mathematics.grader import Grader
from palate.feedback.mathematics.reading import complaint, right


def rows(file: Path) -> list[dict]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    ("reference", "answer"),
    [
        ("10:30", "It opens at 10:45."),
        ("3 1/2", "1 cup"),
        ("2, 3", "3"),
        ("[1, 2]", "2"),
        ("1e5", "It is 1."),
        ("5", "- 5"),
        ("0.5%", "0.5"),
        ("x=2 or x=3", "x=3"),
        ("235", "$1\\,234$"),
        ("$0.\\overline{3}$", "0"),
        ("2,3", "2.3"),
        ("2,3", "2"),
        ("1,1", "1"),
        ("3\\sqrt{13}", "$\\boxed{3}$"),
        ("6+9i", "\\boxed{6}"),
        ("(-\\infty, 0]", "\\boxed{0}"),
        ("\\frac 59", "59"),
        ("0.0000001", "0.0000002"),
        ("7", "The answer to question 7 is 8."),
        ("2", "\\boxed{1}, \\boxed{2}"),
        ("5", "\\boxed{5"),
        ("5", "It may be \\boxed{5}, no: \\boxed{6}."),
        ("5", ""),
        ("east", "west"),
    ],
)
def test_a_wrong_answer_earns_nothing(reference, answer):
    assert not right(reference, answer)


@pytest.mark.parametrize(
    ("reference", "answer"),
    [
        ("18", "The total is \\$18."),
        ("1234", "$1\\,234$"),
        ("1234.5", "She pays 1,234.50 dollars."),
        ("100000", "1e5"),
        ("1.5e-3", "0.0015"),
        ("-5", "- 5"),
        ("-1", "\u22121"),
        ("1/3", "$0.\\overline{3}$"),
        ("1/6", "$0.1\\overline{6}$"),
        ("5", "5\nConfidence: 90%"),
        ("5", "- 3 apples\n- 5 pears"),
        ("3\\sqrt{13}", "$\\boxed{3\\sqrt{13}}$"),
        ("3 1/2", "It takes 3 1/2 cups."),
        ("3 1/2", "3.5"),
        ("10:30", "It opens at 10:30."),
        ("0.5%", "It is 0.5%."),
        ("50\\%", "50"),
        ("2,3", "x=2 or x=3"),
        ("x=2 or x=3", "The roots are 3 and 2."),
        ("2,3", "\\boxed{3} and \\boxed{2}"),
        ("(1,2)", "The point is (1, 2)."),
        ("\\text{(B)}", "The answer is (B)."),
        ("yes", "Answer: **Yes**"),
        ("New York", "The answer is New York."),
        ("x^2+1", "1+x^2"),
        ("2\\pi", "2 pi"),
        ("5", "2 + 3 = 5"),
        ("18 dollars", "It costs $18."),
        ("#### 1,072", "so 1072"),
        ("4", "<think>\\boxed{3}</think> It is 4."),
        ("7", "The answer to question 2 is 7."),
        ("5", "In 2020, 5 apples"),
    ],
)
def test_a_right_answer_is_paid_however_it_is_written(reference, answer):
    assert right(reference, answer)


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("\\frac{", "is nothing that math-verify can read"),
        ("??", "is nothing that math-verify can read"),
        ("1/0", "is nothing that math-verify can read"),
        ("the sum of all the squares is large", "is a sentence"),
        ("3:30 pm", "is a time of day"),
        ("x" * 600, "is longer than 500 characters"),
        (" ", "is empty"),
    ],
)
def test_a_reference_that_nothing_can_equal_says_why(reference, why):
    assert complaint(reference) == why


@pytest.mark.slow
def test_references_of_real_problems_are_right_and_their_parts_are_not(real_data):
    whole = {"40_9"}  # math-verify leaves a base aside, like a unit
    for row in rows(real_data / "math500" / "problems.jsonl.gz"):
        reference = row["answer"]
        assert complaint(reference) == "", reference
        assert right(reference, f"So it is $\\boxed{{{reference}}}$."), reference
        assert right(reference, row["solution"]), reference
        shape = re.sub(r"\\(text|mbox)\s*\{.*?\}(\^2)?|\\\$|\^\\circ|,\\!|\s", "", reference)
        if re.fullmatch(r"(x=)?[\d.,]+", shape) or reference in whole:
            continue
        for part in re.findall(r"\d+", reference):
            assert not right(reference, f"$\\boxed{{{part}}}$"), (reference, part)


def test_solutions_of_real_models_are_graded_as_people_did(real_data):
    for row in rows(real_data / "gsm8k" / "model_solutions_dev.jsonl.gz"):
        reference = row["ground_truth"].rpartition("A:")[2].strip()
        for one in row["solutions"]:
            assert right(reference, one["solution"]) == one["is_correct"], one
    for row in rows(real_data / "gsm8k" / "dev_from_test.jsonl.gz"):
        assert right(row["answer"], f"It is {row['final_answer']}."), row
    for row in rows(real_data / "svamp" / "problems.jsonl.gz"):
        reference, value = str(row["answer"]), row["answer"]
        assert right(reference, f"The answer is {value:.10g}.")
        assert not right(reference, f"The answer is {value + 1:.10g}.")


def test_a_formula_that_never_ends_is_given_up_and_the_next_answer_is_graded():
    grader = Grader(cpu_seconds=0.3)
    begin = time.monotonic()
    assert grader.right("5", "\\boxed{9^{9^{9^{9}}}}") is None
    assert grader.ended == 1
    assert grader.right("5", "\\boxed{5}") is True
    assert grader.right("5", "\\boxed{6}") is False
    assert grader.complaint("\\frac{") == "is nothing that math-verify can read"
    assert time.monotonic() - begin < 60
    grader.close()


def test_what_stands_in_a_sentence_is_not_taken_for_a_list():
    assert final_answer("In 2020, 5 apples") == "5"
    assert final_answer("The roots are 2 and 3.") == "2, 3"
    assert final_answer("It costs $18 and then $5.") == "$5"
    assert final_answer("I think it is Monday") == ""
