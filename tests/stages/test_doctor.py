"""`palate doctor` on small recipes, healthy ones and ones with something broken in each."""

import io
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest
import torch
from rich.console import Console
from rich.text import Text

from palate.batches.groups import TokenGroup, token_group
from palate.config import objectives
from palate.config.common import (
    KlConfig,
    PromptConfig,
)
from palate.config.load import load_recipe
from palate.config.onpolicy import GrpoConfig, PpoConfig, RlooConfig
from palate.config.stages import (
    PreferenceLoss,
)
from palate.models.build import train_tokenizer
from palate.models.tokens import Encoder
from palate.records import Demonstration, Message
from palate.stages import doctor
from palate.stages.doctor import plans, rendering
from palate.stages.doctor.material import Material
from palate.stages.doctor.verdicts import Finding
from palate.stages.encoding import asked, demonstrated
from palate.stages.pipeline import run_recipe
from palate.store.errors import Skipped, refuse
from palate.store.formats import AS_IT_IS, read_prompts

CORPUS = ["We have oat milk.", "The cafe opens at nine.", "A latte is four euros."] * 3
TINY = """
[pretrain]
corpus = "corpus.jsonl"
block_tokens = 32
[pretrain.architecture]
hidden_size = 32
layers = 2
heads = 2
intermediate_size = 64
context = 96
vocabulary = 280
"""
SFT = """
[sft]
data = "demonstrations.jsonl"
batch_rows = 2
"""
PPO = """
[ppo]
prompts = "prompts.jsonl"
reward = "reward.py:length"
sampling = { max_tokens = 8 }
batch_prompts = 4
k = 2
steps = 3
"""
FROM_PRETRAIN = 'model = "@pretrain"\n'
REWARD = """
def length(prompt, response, reference):
    return float(len(response))


def constant(prompt, response, reference):
    return 0.5


def broken(prompt, response, reference):
    return {}[prompt]


def undefined(prompt, response, reference):
    return float("nan")


def seldom(completions):
    return [None for _ in completions]
"""

TURNS = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}"
    "{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)

Doctor = Callable[[str], tuple[bool, str]]


def write(path: Path, rows: Iterable[object]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def examine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    """Runs the doctor on a recipe in a folder with good data; says if all is well, and the text."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "corpus.jsonl", [{"text": text} for text in CORPUS])
    asked = ["Do you have milk?", "When do you open?", "How much is it?", "Are you closed?"]
    write(tmp_path / "prompts.jsonl", [{"prompt": text} for text in asked])
    answers = ["Yes.", "At nine.", "Four euros.", "No, never."]
    rows = [{"prompt": p, "completion": c} for p, c in zip(asked, answers, strict=True)]
    write(tmp_path / "demonstrations.jsonl", rows)
    pairs = [
        {"prompt": row["prompt"], "chosen": row["completion"], "rejected": "Eh."} for row in rows
    ]
    write(tmp_path / "pairs.jsonl", pairs)
    (tmp_path / "reward.py").write_text(REWARD)

    def run(recipe: str) -> tuple[bool, str]:
        (tmp_path / "recipe.toml").write_text(recipe)
        page = io.StringIO()
        console = Console(file=page, width=400)
        well = doctor.run(load_recipe(Path("recipe.toml")), root=Path(), console=console)
        return well, "\n".join(line.rstrip() for line in page.getvalue().splitlines())

    return run


def said(findings: Iterable[object]) -> list[tuple[str, str]]:
    return [(f.level, f.text) for f in findings if isinstance(f, Finding)]


def test_a_machine_is_examined_without_a_recipe_and_without_a_trace(tmp_path: Path) -> None:
    page = io.StringIO()
    assert doctor.run(None, root=tmp_path / "new", console=Console(file=page, width=200))
    assert "a tiny model trained one step" in page.getvalue()
    assert f"torch {torch.__version__}" in page.getvalue()
    assert "0 problems" in page.getvalue()
    assert list(tmp_path.iterdir()) == []


def test_a_healthy_recipe_is_told_what_it_will_do(examine: Doctor, tmp_path: Path) -> None:
    well, page = examine(TINY + SFT + PPO)
    assert well, page
    assert "4 demonstrations, 2 per update = 2 updates per pass; 2 passes = 4 updates" in page
    assert (
        "4 prompts x 2 responses = 8 per step, 2 minibatches of 4, 2 epochs = 4 updates; "
        "3 steps = 12 updates, 3 passes over the prompts"
    ) in page
    assert "objective: k1 in the reward maximizes E[score] - coef * KL(policy || reference)" in page
    assert "k1 of the policy against its own reference is 0" in page
    assert "a tokenizer learned from the corpus" in page
    assert "BOS: exactly one at the beginning of every prompt; EOS: exactly one at the end" in page
    assert "prompt (16 tokens): <bos>|<user>|D|o| |y|o|u| |hav|e| |mil|k|?|<assistant>" in page
    assert "trained (5 tokens): Y|e|s|.|<eos>" in page
    assert "reward length on 4 responses from references and demonstrations: mean 8.25" in page
    assert "every stage fits into the memory that is free now" in page
    assert "0 problems, 0 warnings" in page
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "palate.db").exists()


def test_preferences_are_scored_by_a_reward_model_and_trained_on_by_dpo(examine: Doctor) -> None:
    data = 'model = "@pretrain"\ndata = "pairs.jsonl"\nheld_out_fraction = 0\n'
    well, page = examine(f"{TINY}[reward]\n{data}[dpo]\nbeta = 0.2\n{data}")
    assert well, page
    assert "pairs.jsonl: 4 judged groups to train on, 0 held out" in page
    assert page.count("4 preferences, 0 ties (0.0%)") == 2
    assert page.count("warning   no preference is held out") == 1
    assert page.count("scored at its last token (5 tokens): Y|e|s|.|<eos>") == 1
    assert page.count("trained (5 tokens): Y|e|s|.|<eos>") == 1
    assert "Bradley-Terry reward behind the preferences (beta = 0.2)" in page


def test_auxiliary_preferences_are_counted_before_and_after_the_others_are_there(
    examine: Doctor, tmp_path: Path
) -> None:
    more = [
        {"prompt": f"{n} teas?", "chosen": "Yes, all of them.", "rejected": "Eh."} for n in "abc"
    ]
    write(tmp_path / "more.jsonl", more)
    reward = '[reward]\nmodel = "@pretrain"\nauxiliary_data = "more.jsonl"\ndata = '
    well, page = examine(f'{TINY}{reward}"pairs.jsonl"\nheld_out_fraction = 0\n')
    assert well, page
    assert "more.jsonl: 3 judged groups to train on beside them" in page
    assert "3 preferences, 0 ties (0.0%)" in page
    sampled = '[sample]\nprompts = "prompts.jsonl"\nsampling = { max_tokens = 4 }\n[judge]\n'
    well, page = examine(f'{TINY}{SFT}{FROM_PRETRAIN}{sampled}{reward}"@judge"\n')
    assert "[judge] has not run yet" in page
    assert "more.jsonl: 3 judged groups to train on beside them" in page
    (tmp_path / "more.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "b"}\n')
    well, page = examine(f'{TINY}{reward}"pairs.jsonl"\n')
    assert not well
    assert "more.jsonl, row 1, field 'rejected'" in page


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_a_problem(examine: Doctor) -> None:
    well, page = examine(TINY + SFT + 'compute = { device = "cuda:0" }\n')
    assert not well
    assert "no CUDA device for compute.device='cuda:0': use `auto` or `cpu`" in page


def test_rows_that_do_not_parse_are_counted_and_the_first_is_shown(
    examine: Doctor, tmp_path: Path
) -> None:
    good = {"prompt": "a", "chosen": "b", "rejected": "c"}
    write(tmp_path / "pairs.jsonl", [good, good | {"rejected": "b"}, {"prompt": "a"}, good])
    well, page = examine(TINY + '[reward]\nmodel = "@pretrain"\ndata = "pairs.jsonl"\n')
    assert not well
    assert "problem   2 of 4 rows cannot be read: pairs.jsonl, row 2, field 'rejected'" in page
    assert "the response is equal to the one it is compared with" in page


def test_a_missing_file_is_a_problem_and_the_rest_is_examined(examine: Doctor) -> None:
    well, page = examine(TINY + SFT.replace("demonstrations", "demonstration") + PPO)
    assert not well
    assert "demonstration.jsonl: no such file" in page
    assert "-> check the name; nearest in '.': demonstrations.jsonl" in page
    assert "3 steps = 12 updates" in page
    assert "1 problem, 0 warnings" in page


def test_ties_and_preferences_between_equal_texts_are_counted(
    examine: Doctor, tmp_path: Path
) -> None:
    def row(texts: list[str], probability: float) -> dict[str, object]:
        prompt = {"messages": [{"role": "user", "content": texts[0]}]}
        group = {"prompt": prompt, "responses": [{"text": text} for text in texts]}
        preference = {"winner": 0, "loser": 1, "probability": probability}
        return {"group": group, "preferences": [preference]}

    rows = [row(["a", "b"], 1.0), row(["c", "d"], 0.5), row(["e", "e"], 1.0), row(["f", "g"], 0.9)]
    write(tmp_path / "pairs.jsonl", rows)
    recipe = '[dpo]\nmodel = "@pretrain"\ndata = "pairs.jsonl"\nheld_out_fraction = 0\n'
    well, page = examine(TINY + recipe)
    assert well
    assert "4 preferences, 1 tie (25.0%)" in page
    assert "warning   1 preference between equal texts (chosen == rejected)" in page


@pytest.mark.parametrize(("over_long", "well"), [("error", False), ("skip", True)])
def test_rows_that_are_too_long_stop_the_stage_or_are_left_out(
    examine: Doctor, tmp_path: Path, over_long: str, well: bool
) -> None:
    rows = [{"prompt": "Hi", "completion": "x" * n} for n in (5, 9, 10, 11)]
    write(tmp_path / "demonstrations.jsonl", rows)
    limits = f'max_response_tokens = 10\nprompt = {{ over_long = "{over_long}" }}\n'
    is_well, page = examine(TINY + SFT + limits)
    assert is_well is well
    assert "2 of 4 rows (50.0%) are too long" in page
    assert ("will be left out" in page) is well


def test_a_policy_of_raw_text_cannot_be_asked_in_chat_format(examine: Doctor) -> None:
    well, page = examine(TINY + SFT + 'prompt = { format = "raw" }\n' + PPO)
    assert not well
    assert page.count("problem   the tokenizer has no chat template: set prompt.format=raw") == 1


def test_a_stage_is_not_asked_for_what_it_does_not_make(examine: Doctor) -> None:
    sampled = '[sample]\nmodels = ["@pretrain"]\nprompts = "prompts.jsonl"\nk = 2\n[judge]\n'
    well, page = examine(TINY + sampled + '[sft]\ndata = "@judge"\n')
    assert not well
    assert "@judge: expected a stage that makes demonstrations.jsonl, and [judge] makes" in page
    assert 'set ask = "best" there' in page
    well, page = examine(TINY + sampled + 'ask = "best"\n[sft]\ndata = "@judge"\n')
    assert well, page
    assert "responses are not there yet; shown is a prompt of [sample]" in page


def test_a_policy_is_no_reward_model(examine: Doctor) -> None:
    well, page = examine(TINY + SFT + PPO.replace("reward.py:length", "@sft"))
    assert not well
    assert "@sft: expected a stage that makes a reward model, and this makes model" in page


def test_what_is_on_the_hub_is_said_to_be_fetched(examine: Doctor) -> None:
    recipe = '[sft]\nmodel = "no-such-owner/no-such-model"\ndata = "no-such-owner/no-such-data"\n'
    well, page = examine(recipe)
    assert well
    assert "no-such-owner/no-such-data: no file here, so it will be fetched from the Hub" in page
    assert "warning   no-such-owner/no-such-model: will be fetched from the Hub" in page


def test_a_reward_without_spread_is_no_signal(examine: Doctor) -> None:
    well, page = examine(TINY + SFT + PPO.replace("length", "constant"))
    assert well
    assert "mean 0.5, all equal: no signal to learn from" in page


def test_each_of_several_rewards_is_tried(examine: Doctor) -> None:
    listed = '["reward.py:length", "reward.py:seldom", "verifier:exact", "reward.py:broken"]'
    well, page = examine(TINY + SFT + PPO.replace('"reward.py:length"', listed))
    assert not well
    assert "reward length on 4 responses from references and demonstrations: mean 8.25" in page
    assert "reward seldom returned None, does not apply, for all responses" in page
    assert "4 of 4 prompts have no reference, and verifier:exact gives 0" in page
    assert "in broken: KeyError: 'Do you have milk?'" in page


def test_two_reward_models_in_one_stage_are_refused(examine: Doctor) -> None:
    well, page = examine(TINY + SFT + PPO.replace('"reward.py:length"', '["one/a", "two/b"]'))
    assert not well
    assert "one/a and two/b are reward models, and a stage opens one" in page


def test_a_reward_that_raises_is_named_with_its_line(examine: Doctor, tmp_path: Path) -> None:
    well, page = examine(TINY + SFT + PPO.replace("length", "broken"))
    assert not well
    assert f"{tmp_path / 'reward.py'}, line 11, in broken: KeyError: 'Do you have milk?'" in page


def test_a_reward_that_is_not_a_number_is_a_problem(examine: Doctor) -> None:
    well, page = examine(TINY + SFT + PPO.replace("length", "undefined"))
    assert not well
    assert "reward undefined returned nan" in page


def test_references_that_a_verifier_cannot_read_are_listed(examine: Doctor, tmp_path: Path) -> None:
    recipe = TINY + SFT + PPO.replace("reward.py:length", "verifier:math")
    answers = ["2", "3\\sqrt{13}", "3:30 pm", "3:30 pm"]
    rows = [{"prompt": f"{n}?", "answer": answer} for n, answer in enumerate(answers)]
    write(tmp_path / "prompts.jsonl", rows)
    well, page = examine(recipe)
    assert not well
    assert "verifier:math cannot compare with 2 of the references of 4 prompts: '3:30 pm'" in page
    write(tmp_path / "prompts.jsonl", rows[:2])
    _, page = examine(recipe)
    assert "verifier:math: every reference earns 1 as its own answer" in page


def test_a_verifier_needs_references(examine: Doctor, tmp_path: Path) -> None:
    recipe = TINY + SFT + PPO.replace("reward.py:length", "verifier:exact")
    well, page = examine(recipe)
    assert not well
    assert "4 of 4 prompts have no reference, and verifier:exact gives 0" in page
    write(tmp_path / "prompts.jsonl", [{"prompt": f"{n}?", "reference": str(n)} for n in range(4)])
    well, page = examine(recipe)
    assert well, page
    assert "reward verifier:exact on 8 responses" in page
    assert "mean 0.5, spread 0.5, from 0 to 1" in page


def test_kto_needs_both_kinds_of_responses(examine: Doctor, tmp_path: Path) -> None:
    row = {"prompt": "a", "completion": "b", "label": True}
    write(tmp_path / "labels.jsonl", [row, row | {"completion": "c"}])
    recipe = '[dpo]\nmodel = "@pretrain"\ndata = "labels.jsonl"\nloss = "kto"\n'
    well, page = examine(TINY + recipe)
    assert not well
    assert "labels.jsonl: 2 desirable and 0 undesirable responses: KTO compares the two" in page


def test_prepared_tables_are_read_by_later_stages_before_anything_has_run(
    examine: Doctor, tmp_path: Path
) -> None:
    (tmp_path / "tables.py").write_text(
        "from palate.records import user_prompt\n\n"
        "def prepare(sources, seed):\n"
        "    return {'prompts': [user_prompt(f'{n}?') for n in range(7)]}\n"
    )
    prepared = '[data]\nstage = "prepare"\nfunction = "tables.py:prepare"\n'
    well, page = examine(prepared + TINY + PPO.replace("prompts.jsonl", "@data") + FROM_PRETRAIN)
    assert well, page
    assert "tables.py:prepare ran and made prompts (7 rows)" in page
    assert "@data: 7 distinct prompts" in page
    assert not (tmp_path / "runs").exists()
    _, page = examine(prepared)
    run_recipe(load_recipe(Path("recipe.toml")), root=Path(), console=Console(quiet=True))
    _, page = examine(prepared)
    assert "finished before (runs/run/01-data); a run skips it" in page


def test_a_trained_policy_is_told_what_longer_responses_would_take(examine: Doctor) -> None:
    # Trained to say nothing, so that nearly every response is shorter than 64 tokens.
    taught = (
        TINY
        + SFT.replace("demonstrations.jsonl", "silence.jsonl")
        + "epochs = 30\noptimizer = { lr = 0.01 }\n"
    )
    write(Path("silence.jsonl"), [{"prompt": f"{n}?", "completion": "."} for n in range(9)])
    online = PPO.replace("max_tokens = 8", "max_tokens = 64")
    examine(taught)
    run_recipe(load_recipe(Path("recipe.toml")), root=Path(), console=Console(quiet=True))
    well, page = examine(taught + online)
    assert well, page
    assert re.search(r"the policy writes about \d+ tokens; if it came to write 64, it would", page)
    unborn = TINY.replace("[pretrain]", "[pretrain]\nseed = 9", 1)
    _, untaught = examine(unborn + online + FROM_PRETRAIN)
    assert "the policy writes" not in untaught


def test_a_later_stage_finds_half_the_kernels_of_the_earlier_one(examine: Doctor) -> None:
    bf16 = 'compute = { device = "cpu", precision = "bf16" }\n'
    recipe = TINY.replace("[pretrain.architecture]", bf16 + "[pretrain.architecture]")
    _, page = examine(recipe + SFT + bf16)
    numbers = {
        cells[0]: [int(cell.replace(",", "")) for cell in cells[-3:]]
        for cells in map(str.split, page.splitlines())
        if cells[:1] in (["pretrain"], ["sft"]) and cells[-1].replace(",", "").isdigit()
    }
    (kernels, process, peak), (_, later, _) = numbers["pretrain"], numbers["sft"]
    assert kernels > 10
    assert later - process == pytest.approx(kernels / 2, abs=1)
    assert peak >= process + kernels


def test_a_model_that_does_not_fit_is_a_problem(examine: Doctor) -> None:
    huge = TINY.replace("hidden_size = 32", "hidden_size = 65536").replace(
        "layers = 2", "layers = 40"
    )
    well, page = examine(huge + SFT)
    assert not well
    assert "sft needs about" in page
    assert "-> lower compute.micro_batch_tokens, set lora.rank, or take a smaller model" in page


def test_responses_that_would_merge_with_the_prompt_are_counted(
    examine: Doctor, tmp_path: Path
) -> None:
    rows = [{"prompt": "We h", "completion": "ave"}, {"prompt": "We have", "completion": " oat"}]
    write(tmp_path / "demonstrations.jsonl", rows)
    recipe = TINY.replace("280", "300") + SFT + 'prompt = { format = "raw" }\n'
    well, page = examine(recipe)
    assert well
    assert "1 of 2 responses would merge with the end of the prompt into one token" in page


def tokenizer(pad: str = "<pad>"):
    made = train_tokenizer(CORPUS, vocabulary=280, chat="palate")
    made.pad_token = pad
    return made


def test_padding_with_eos_is_declared_safe() -> None:
    group = token_group("p", (1, 9), ((9, 2),))
    encoder = Encoder(tokenizer(pad="<eos>"), PromptConfig())
    ((level, text),) = said(rendering.traps([group], encoder))
    assert level == "ok"
    assert "pads with EOS, which is safe here: masks come from lengths" in text


def test_a_second_bos_and_a_second_eos_are_problems() -> None:
    encoder = Encoder(tokenizer(), PromptConfig())
    bos, eos = 1, 2
    group = token_group("p", (bos, bos, 9), ((9, eos, eos),))
    problems = [text for level, text in said(rendering.traps([group], encoder)) if level != "ok"]
    assert problems[0].startswith("BOS: 1 of 1 prompt begin with two")
    assert problems[1].startswith("EOS: 1 of 1 response have more than one per turn")


def test_a_bos_before_every_turn_is_the_templates_affair_and_in_raw_text_a_mistake() -> None:
    bos = 1
    group = token_group("p", (bos, 9, bos, 9, bos), ((9, 2),))
    levels = [
        [level for level, _ in said(rendering.traps([group], Encoder(tokenizer(), config)))]
        for config in (PromptConfig(), PromptConfig(format="raw"))
    ]
    assert levels == [["ok"], ["problem", "ok"]]


def test_characters_of_several_tokens_are_shown_whole() -> None:
    own = tokenizer()
    ids = own("Tee für 可以!", add_special_tokens=False)["input_ids"]
    assert rendering.readable(ids, own)[-5:] == ["r", " ", "可", "以", "!"]
    assert rendering.readable(ids[:-2], own)[-2:] == ["可", "\ufffd"]


class Opened:
    """A model of which only the tokenizer is there."""

    def __init__(self, template: str) -> None:
        self.tokenizer = tokenizer()
        self.tokenizer.chat_template = template

    def encoder(self, prompt: PromptConfig) -> Encoder:
        return Encoder(self.tokenizer, prompt)


@pytest.mark.parametrize("bad_rows", [refuse, Skipped()])
def test_rows_that_the_template_refuses_are_counted(tmp_path: Path, bad_rows) -> None:
    system = {"prompt": [{"role": "system", "content": "x"}, {"role": "user", "content": "x"}]}
    rows = [{"prompt": "Tea?"}, system, system | {"tag": "a"}, {"prompt": "Oat?"}]
    write(tmp_path / "p.jsonl", rows)
    source = str(tmp_path / "p.jsonl")
    model = Opened("{% if messages[0].role == 'system' %}{{ raise_exception('none') }}{% endif %}"
                   + TURNS)  # fmt: skip
    material = Material(
        rows=list(read_prompts(source)), encode=asked, max_response_tokens=9, source=source
    )
    case = SimpleNamespace(
        context=SimpleNamespace(bad_rows=bad_rows, reading=lambda source: AS_IT_IS)
    )
    found = said(rendering.seen(material, model, PromptConfig(), case))
    (level, text), *_ = found
    assert level == ("problem" if bad_rows is refuse else "warning")
    assert text.startswith(f"2 of 4 rows cannot become tokens: {source}, row 2: the chat template")
    assert any("prompts have up to" in text for _, text in found)


def test_answers_inside_a_thought_that_the_template_opens_are_a_problem() -> None:
    model = Opened(TURNS.replace("<assistant>{% endif", "<assistant><think>\n{% endif"))
    turns = (Message(role="user", content="Tea?"), Message(role="assistant", content="2.50."))
    material = Material(
        rows=[Demonstration(messages=turns)], encode=demonstrated("last"), max_response_tokens=9
    )
    case = SimpleNamespace(
        context=SimpleNamespace(bad_rows=refuse, reading=lambda source: AS_IT_IS)
    )
    found = said(rendering.seen(material, model, PromptConfig(), case))
    assert [text for level, text in found if level == "problem"] == [
        "the chat template renders finished turns differently from its generation prompt, which "
        "opens a thought ('<think>\\n'): 1 of 1 response do not close it with </think>, so they "
        "are trained as a thought without an answer"
    ]
    assert not any("merge" in text for _, text in found)


def test_the_tokens_that_count_are_green() -> None:
    own = tokenizer()
    ids = [own.convert_tokens_to_ids(token) for token in ("<user>", "H", "i", "<eos>")]
    user, h, i, eos = ids
    group = TokenGroup(
        id="p",
        prompt=(user, h),
        responses=((i, eos, user, h, i, eos),),
        masks=((True, True, False, False, True, True),),
    )
    shown = rendering.example(group, own, use="trained")
    assert styled(shown, rendering.TRAINED) == ["i", "<eos>", "i", "<eos>"]
    assert styled(shown, rendering.UNTRAINED) == ["<user>", "H"]
    assert shown.plain.split("\n")[0] == "prompt (2 tokens): <user>|H"


def styled(text: Text, style: str) -> list[str]:
    return [text.plain[span.start : span.end] for span in text.spans if span.style == style]


def test_every_placement_and_estimator_of_the_kl_has_an_objective() -> None:
    fields = KlConfig.model_fields
    estimators = get_args(fields["estimator"].annotation)
    expected = {("reward", "k1"), *(("loss", estimator) for estimator in estimators)}
    assert set(objectives.PLACED) == expected
    assert set(plans.PREFERENCE_OBJECTIVES) == set(get_args(PreferenceLoss))


@pytest.mark.parametrize(
    ("placement", "estimator", "level"),
    [
        ("reward", "k1", "ok"),
        ("loss", "k1_cumulative", "ok"),
        ("loss", "k2", "warning"),
        ("loss", "k3", "warning"),
        ("loss", "k1", "problem"),
    ],
)
def test_only_the_whole_sequence_kl_is_the_regularized_objective(
    placement: str, estimator: str, level: str
) -> None:
    kl = KlConfig.model_validate({"placement": placement, "estimator": estimator})
    (verdict,) = said(plans.objective(RlooConfig(kl=kl)))
    assert verdict[0] == level
    assert ("E[score] - coef * KL(policy || reference)" in verdict[1]) is (level == "ok")


def test_what_scales_advantages_changes_the_effective_coefficient() -> None:
    kl = KlConfig(placement="loss", estimator="k3_cumulative")
    bent = said(plans.objective(GrpoConfig(kl=kl, baseline="group_mean", k=4)))
    assert bent[1][1].endswith("makes the effective coef 4/3 of kl.coef")
    assert len(said(plans.objective(GrpoConfig(baseline="group_mean")))) == 1


@pytest.mark.parametrize("control", ["soft", "adaptive", "hard"])
def test_a_coefficient_of_zero_stays_zero_under_every_control(control: str) -> None:
    kl = KlConfig.model_validate({"coef": 0, "control": control})
    ((level, text),) = said(plans.objective(PpoConfig(kl=kl)))
    assert level == "warning"
    assert "kl.coef = 0 maximizes E[score] alone" in text


def test_minibatches_that_do_not_divide_and_missing_prompts_are_warned_of() -> None:
    config = GrpoConfig(batch_prompts=16, minibatches=4, k=2, steps=1)
    verdicts = said(plans.online_plan(config, 10))
    assert verdicts[0][1].startswith("10 prompts x 2 responses = 20 per step, 4 minibatches of 6")
    assert "there are only 10 prompts: a step has 10, not batch_prompts = 16" in verdicts[1][1]
    assert "10 prompts do not split into 4 equal minibatches" in verdicts[2][1]
