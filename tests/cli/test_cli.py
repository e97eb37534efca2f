"""The command as a person meets it: as a process, with its messages and exit codes."""

import errno
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import pytest
import typer

from palate import __version__
from palate.cli.guard import guard
from palate.cli.main import STAGE_VERBS
from palate.config.errors import ConfigError
from palate.config.exchange import Format
from palate.config.load import load_recipe, load_stage
from palate.config.stages import STAGES
from palate.store.errors import DataError
from palate.store.runs import RunDir, StageDir

RECIPE = '[sft]\nmodel = "base"\nepochs = 3\n[ppo]\nreward = "r.py:f"\n'


def palate(*words: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "palate", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)


def told(result: subprocess.CompletedProcess[str]) -> str:
    """What went to stderr, without the frame that the terminal library draws."""
    return " ".join(result.stderr.replace("\u2502", " ").split())


def refused(*words: str, folder: Path | None = None) -> str:
    result = palate(*words, folder=folder)
    assert result.returncode == 2, result
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    return told(result)


def test_help_lists_every_verb_and_comes_without_torch() -> None:
    script = (
        "import sys\nfrom palate.cli.main import main\nsys.argv = ['palate', '--help']\n"
        "try:\n    main()\nfinally:\n"
        "    heavy = {'torch', 'transformers', 'sqlalchemy', 'numpy', 'palate.config.stages'}\n"
        "    assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    begun = time.perf_counter()
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert time.perf_counter() - begun < 3, "0.1 s on an idle laptop"
    assert (result.returncode, result.stderr) == (0, "")
    others = (
        "run",
        "chat",
        "arena",
        "label",
        "import",
        "export",
        "config",
        "show",
        "doctor",
        "verify",
    )
    for verb in (*STAGES, *others):
        assert f"\u2502 {verb} " in result.stdout


def test_every_stage_is_a_verb() -> None:
    assert list(STAGE_VERBS) == list(STAGES)


def test_every_format_that_export_offers_is_written() -> None:
    from palate.exchange.exporting import AS_SAID, JUDGED, UNJUDGED

    assert sorted(get_args(Format)) == sorted([*UNJUDGED, *AS_SAID, *JUDGED])


def test_the_version_is_the_package_s() -> None:
    assert palate("--version").stdout == f"palate {__version__}\n"


@pytest.mark.parametrize(
    ("typo", "verb"), [("sff", "sft"), ("evalute", "evaluate"), ("pretrian", "pretrain")]
)
def test_a_misspelt_verb_names_the_nearest(typo: str, verb: str) -> None:
    assert f"No such command '{typo}'. Did you mean '{verb}'" in refused(typo)


def test_a_misspelt_option_names_the_nearest() -> None:
    assert "--root" in refused("run", "recipe.toml", "--rot", "x")


def test_a_misspelt_key_names_its_path_and_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(RECIPE)
    message = refused("run", "r.toml", "ppo.optimzer.lr=3e-4", "ppo.k=0", folder=tmp_path)
    assert "r.toml: ppo.k = 0: expected an integer >= 1 (Responses per prompt)" in message
    assert "ppo.optimzer.lr: unknown key; did you mean ppo.optimizer.lr?" in message


def test_a_stage_verb_checks_its_own_keys() -> None:
    assert refused("dpo", "lr=1") == "[dpo]: lr: unknown key; did you mean optimizer.lr?"
    assert "did you mean sigmoid?" in refused("dpo", "loss=sigmoit")


def test_a_missing_recipe_names_the_nearest_file(tmp_path: Path) -> None:
    (tmp_path / "cafe.toml").write_text(RECIPE)
    message = refused("run", "caffe.toml", folder=tmp_path)
    assert message == "caffe.toml: no such recipe; did you mean cafe.toml?"
    assert "did you mean cafe.toml?" in refused("sft", "caffe.toml", folder=tmp_path)
    assert "did you mean cafe.toml?" in refused("doctor", "caffe.toml", folder=tmp_path)


def test_malformed_toml_shows_the_line(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text("[sft\n")
    assert "line 1, column 5) [sft" in refused("run", "r.toml", folder=tmp_path)


def test_a_word_that_is_neither_recipe_nor_override_is_refused() -> None:
    assert refused("sft", "epochs", "3").startswith("epochs: expected one recipe (a .toml file)")
    assert refused("sft", "a.toml", "b.toml").startswith("b.toml: expected one recipe")
    assert refused("chat", "a", "b", "c").startswith("chat takes one model or two, not 3")
    alone = refused("arena", "a", "--project", "p")
    assert alone.startswith("an arena compares two different policies or more, not ['a']")
    assert "No module named 'nowhere'" in refused("verify", "--algorithm", "nowhere:X")
    assert "less than or equal to 65535" in refused("label", "--port", "70000")


def test_a_verb_lists_the_tables_that_it_could_run(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text('[eight]\nstage = "sample"\nmodels = ["base"]\n')
    message = refused("sample", "r.toml", folder=tmp_path)
    assert message == "r.toml: no table [sample] for palate sample (--table takes eight)"
    message = refused("sample", "r.toml", "--table", "eight", "k=0", folder=tmp_path)
    assert message.startswith("r.toml, [eight]: k = 0: expected an integer >= 1")


def test_doctor_takes_the_overrides_of_run(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(RECIPE)
    message = refused("doctor", "r.toml", "ppo.k=0", folder=tmp_path)
    assert message.startswith("r.toml: ppo.k = 0: expected an integer >= 1")
    assert refused("doctor", "ppo.k=0") == (
        "ppo.k=0: an override changes a recipe; name the recipe too (--debug shows where)"
    )


def test_config_prints_a_table_that_is_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(RECIPE)
    result = palate("config", "sft", "r.toml", "optimizer.lr=1e-5", folder=tmp_path)
    (tmp_path / "printed.toml").write_text(result.stdout)
    expected = load_stage("sft", tmp_path / "r.toml", ["optimizer.lr=1e-5"])
    assert load_recipe(tmp_path / "printed.toml").stages["sft"] == expected
    assert "# Passes over the data.\nepochs = 3.0  # a number > 0; default 2.0\n" in result.stdout


def test_config_of_an_unknown_stage_names_the_nearest() -> None:
    assert "unknown stage rewrad; did you mean reward?" in refused("config", "rewrad")


def test_show_prints_config_algorithm_maths_and_stage() -> None:
    page = palate("show", "ppo").stdout
    parts = [
        "class OnPolicyConfig(ReadingConfig):",
        "class PpoConfig(ClippedConfig):",
        "class KlConfig(Config):",
        "# palate/algorithms/ppo.py",
        "def prepare(",
        "def clipped_loss(",
        "# palate/maths/advantages.py",
        "def gae(",
        "def clipped_surrogate(",
        "class OnlineLoop:",
        "# palate/stages/onpolicy.py",
    ]
    places = [page.find(part) for part in parts]
    assert -1 not in places
    assert places == sorted(places)
    assert all(f"def {name}(" in page for name in ("k1", "k3_cumulative", "token_mean", "whitened"))
    assert "def leave_one_out(" not in page


@pytest.mark.parametrize("stage", ["ppo", "grpo", "reinforce", "rloo"])
def test_help_says_what_each_place_of_the_kl_optimizes(stage: str) -> None:
    page = " ".join(palate(stage, "--help").stdout.split())
    assert "kl.placement=loss kl.estimator=k3: k3 per token in the loss is not" in page
    assert "kl.placement=reward kl.estimator=k1: k1 in the reward maximizes E[score] - coef" in page


def test_show_prints_presets() -> None:
    page = palate("show", "grpo").stdout
    assert "'clip_high': 0.28" in page
    assert "def overlong(" in page


@pytest.mark.parametrize("stage", STAGES)
def test_show_knows_every_stage(stage: str) -> None:
    from palate.cli.show import page

    places = [excerpt.place for excerpt in page(stage)]
    assert places[0].startswith("palate/config/")
    assert places[-1].startswith("palate/stages/")


def test_show_of_an_unknown_stage_names_the_nearest() -> None:
    assert "pppo: no such stage; did you mean ppo?" in refused("show", "pppo")


def test_a_reader_that_leaves_early_is_no_error() -> None:
    command = f"{sys.executable} -m palate show ppo | head -n 1"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert result.stdout == "# palate/config/common.py\n"
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ConfigError(["k: wrong"]), 2, "k: wrong\n"),
        (DataError("the response is empty", source="a.jsonl", row=2), 2, "a.jsonl, row 2: the"),
        (ValueError("no such verifier; did you mean gsm8k?"), 2, "did you mean gsm8k?"),
        (FileNotFoundError(errno.ENOENT, "No such file", "model"), 2, "No such file: 'model'"),
        (OSError(errno.ENOSPC, "No space left on device", "runs/x"), 1, "no space left for runs/x"),
        (PermissionError(errno.EACCES, "Permission denied", "runs"), 1, "Permission denied"),
        (KeyboardInterrupt(), 130, "interrupted; run the same command again to resume\n"),
    ],
)
def test_errors_become_a_message_and_a_code(
    error: BaseException, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as caught, guard(debug=False):
        raise error
    assert caught.value.exit_code == code
    assert message in capsys.readouterr().err


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(KeyError), guard(debug=False):
        raise KeyError("loss")


def test_debug_shows_the_traceback() -> None:
    result = palate("dpo", "lr=1", "--debug")
    assert "Traceback (most recent call last)" in result.stderr
    assert "ConfigError: [dpo]:" in result.stderr


def test_ctrl_c_ends_a_process_with_the_promise_to_resume() -> None:
    script = (
        "import sys, time\nfrom palate.cli import main\nfrom palate.config import load\n"
        "def wait(*words):\n    print('waiting', flush=True)\n    time.sleep(60)\n"
        "load.load_stage = wait\nsys.argv = ['palate', 'sft']\nmain.main()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A background job of a shell ignores SIGINT, and its children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=30)
    assert (process.returncode, message) == (
        130,
        "interrupted; run the same command again to resume\n",
    )


LIGHT = """
import sys
sys.argv = ["palate", *sys.argv[1:]]
from palate.cli.main import main
try:
    main()
finally:
    heavy = {"torch", "transformers", "datasets"} & set(sys.modules)
    assert not heavy, heavy
"""


def light(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command that ends before torch is imported."""
    command = [sys.executable, "-c", LIGHT, *words]
    result = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    assert "Traceback" not in result.stderr, result.stderr
    return result


def finished_stage(run: Path) -> StageDir:
    stage = StageDir(run / "01-sft")
    stage.write_config("{}")
    stage.write_text("model/weights", "weights")
    stage.finish(stage="sft", name="sft", seed=0, fingerprint="", inputs={}, summary={})
    return stage


def test_what_needs_no_torch_is_refused_before_it_is_imported(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text('{"prompt": "q", "chosen": "a", "rejected": "b"}\n')
    run = tmp_path / "runs" / "run"
    stage = finished_stage(run)
    with RunDir(tmp_path / "runs", "run").lock():
        result = light(tmp_path, "dpo", "data=data.jsonl")
    assert (result.returncode, "is writing run" in result.stderr) == (1, True)
    result = light(tmp_path, "dpo", "model=@sfd", "data=data.jsonl")
    assert result.returncode == 2
    assert "@sfd: no such stage has finished here. Remedy: finished stages: @sft" in result.stderr
    (stage.path / "model" / "weights").write_text("Weights")
    result = light(tmp_path, "dpo", "data=data.jsonl")
    assert result.returncode == 2
    assert "model/weights is not what stage 'sft' wrote" in result.stderr
    (tmp_path / "file").write_text("")
    result = light(tmp_path, "dpo", "data=data.jsonl", "--root", "file")
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    result = light(tmp_path, "dpo", "--restart", "--resume")
    assert (result.returncode, "give one of them" in result.stderr) == (2, True)
    assert sorted(path.name for path in run.iterdir()) == [".lock", "01-sft"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("dpo", "--beta", "0.1"), "there is no option --beta; settings are words: beta=0.1"),
        (("dpo", "--kl-coef=0.1"), "settings are words: kl_coef=0.1"),
        (("run", "r.toml", "--dpo.beta", "0.1"), "settings are words: dpo.beta=0.1"),
        (("sft", "--epochs"), "settings are words: epochs=VALUE"),
    ],
)
def test_a_setting_written_as_an_option_is_shown_as_a_word(
    words: tuple[str, ...], said: str
) -> None:
    assert said in refused(*words)


def test_an_unknown_check_names_the_nearest() -> None:
    said = refused("verify", "foo")
    assert "foo: no such check; did you mean " in said
    assert said.count(",") < 5
