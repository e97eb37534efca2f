"""One stage under examination: its data, its model, an example, its arithmetic and its memory."""

from collections.abc import Mapping, Sequence
from functools import partial

from palate.batches.groups import TokenGroup
from palate.config.common import ComputeConfig, PromptConfig, StageConfig
from palate.config.onpolicy import (
    AnyOnPolicyConfig,
    GrpoConfig,
    OnlineDpoConfig,
    PpoConfig,
    ReinforceConfig,
    RlooConfig,
)
from palate.config.stages import (
    DpoConfig,
    EvaluateConfig,
    JudgeConfig,
    PrepareConfig,
    PretrainConfig,
    ReportConfig,
    RewardConfig,
    SampleConfig,
    SftConfig,
)
from palate.feedback.compose import applied
from palate.feedback.functions import load_function
from palate.models.precision import has_fast_bf16, pick_device
from palate.records import Group, Prompt
from palate.stages import loads, prepare
from palate.stages.context import EVALUATION, HELD_OUT, MODEL
from palate.stages.doctor import material as materials
from palate.stages.doctor import plans, rates, rendering, trial
from palate.stages.doctor.blueprints import Blueprint, Case
from palate.stages.doctor.machine import free_memory
from palate.stages.doctor.material import Material
from palate.stages.doctor.places import REWARD_MODEL, place_of, promised, stage_name
from palate.stages.doctor.verdicts import (
    Exam,
    Finding,
    attempt,
    counted,
    in_bytes,
    ok,
    problem,
    warning,
)
from palate.stages.memory import Memory
from palate.stages.policies import reward_model_of, same_vocabulary
from palate.stages.pretrain import pieces
from palate.store import formats

_JUDGED = 64


def examine(config: StageConfig, case: Case) -> Exam[Memory | None]:
    """Everything there is to say about a stage, and the memory it will take if it trains."""
    yield from _device(config.compute)
    match config:
        case PrepareConfig():
            yield from _prepare(config, case)
        case PretrainConfig():
            return (yield from _pretrain(config, case))
        case SftConfig() | RewardConfig() | DpoConfig():
            return (yield from _fixed(config, case))
        case PpoConfig() | GrpoConfig() | ReinforceConfig() | RlooConfig() | OnlineDpoConfig():
            return (yield from _online(config, case))
        case SampleConfig():
            yield from _sample(config, case)
        case JudgeConfig():
            yield from _judge(config, case)
        case EvaluateConfig():
            yield from _evaluate(config, case)
        case ReportConfig():
            if place_of(config.evaluation, case.context) == "later":
                yield from promised(case.recipe, config.evaluation, EVALUATION)
        case _:
            raise AssertionError(f"no exam for {type(config).__name__}")
    return None


def _device(compute: ComputeConfig) -> Exam[None]:
    device = pick_device(compute.device)
    if compute.precision == "bf16" and not has_fast_bf16(device):
        yield warning(
            f"bf16 is emulated on {device}, and slower than fp32 there",
            'set compute.precision = "auto"',
        )


def _prepare(config: PrepareConfig, case: Case) -> Exam[None]:
    """The user's function runs for real, into a folder that later stages are examined with."""
    trial.guarded(load_function, config.function)
    fetched = [name for name in config.sources if place_of(name, case.context) == "hub"]
    if fetched:
        yield ok(f"{', '.join(fetched)}: no file here, so it will be fetched from the Hub")
        return
    counts = trial.guarded(prepare.run, config, case.context)
    tables = ", ".join(f"{name} ({rows:,.0f} rows)" for name, rows in counts.items())
    yield ok(f"{config.function} ran and made {tables}")
    empty = [name for name, rows in counts.items() if not rows]
    if empty:
        yield warning(f"{', '.join(empty)}: no rows", "check the function and its sources")


def _pretrain(config: PretrainConfig, case: Case) -> Exam[Memory | None]:
    rows = yield from attempt(materials.documents(config, case))
    model = yield from attempt(case.blueprints.exam(f"@{case.context.name}", MODEL))
    if rows is None or model is None:
        return None
    encoder = model.encoder(PromptConfig())
    groups = rendering.as_tokens(rows, encoder)
    yield from rendering.traps(groups, encoder)
    yield rendering.example(groups[0], model.tokenizer, use=rows.use)
    cut = [piece for group in groups for piece in pieces(group, config.block_tokens)]
    scale = len(rows.rows) / len(groups)
    tokens = round(scale * sum(piece.num_tokens for piece in cut))
    batch = yield from plans.pretrain_plan(config, round(scale * len(cut)), tokens)
    return loads.pretrain_memory(config, model.outline, cut, batch=batch)


def _fixed(config: loads.Fixed, case: Case) -> Exam[Memory | None]:
    rows = yield from attempt(_training_rows(config, case))
    if rows:
        noun = "demonstration" if isinstance(config, SftConfig) else "group"
        yield from plans.fixed_plan(config, len(rows.rows), noun)
    if isinstance(config, DpoConfig):
        yield from plans.preference_objective(config)
    model = yield from attempt(case.blueprints.exam(config.model, MODEL))
    if model is None:
        return None
    yield from _pace(config, model)
    if rows:
        groups = (yield from attempt(rendering.seen(rows, model, config.prompt, case))) or ()
        return loads.fixed_memory(config, model.outline, groups)
    later: Sequence[TokenGroup] = ()
    asked = yield from attempt(_asked_later(config.data, case))
    if asked:
        sample, prompts = asked
        later = (yield from attempt(rendering.seen(prompts, model, config.prompt, case))) or ()
        k = 1 if isinstance(config, SftConfig) else sample.k
        later = loads.answered(later, k=k, lengths=(sample.sampling.max_tokens,))
    there: Sequence[TokenGroup] = ()
    if isinstance(config, RewardConfig):
        further = yield from attempt(materials.auxiliary(config, case))
        there = rendering.as_tokens(further, model.encoder(config.prompt)) if further else ()
    return loads.fixed_memory(config, model.outline, there, unwritten=later)


def _training_rows(config: loads.Fixed, case: Case) -> Exam[Material | None]:
    if isinstance(config, SftConfig):
        return (yield from materials.demonstrations(config, case))
    if isinstance(config, DpoConfig) and config.loss == "kto":
        return (yield from materials.unpaired(config, case))
    return (yield from materials.preferences(config, case))


def _asked_later(source: str, case: Case) -> Exam[tuple[SampleConfig, Material[Prompt]] | None]:
    """The stage that will sample the data, and its prompts."""
    config = case.recipe.stages.get(stage_name(source)) if source.startswith("@") else None
    if isinstance(config, JudgeConfig):
        return (yield from _asked_later(config.groups, case))
    if isinstance(config, SampleConfig):
        yield ok(f"responses are not there yet; shown is a prompt of [{stage_name(source)}]")
        prompts = yield from materials.prompts(config, case)
        return (config, prompts) if prompts else None
    return None


def _online(config: AnyOnPolicyConfig, case: Case) -> Exam[Memory | None]:
    rows = yield from attempt(materials.prompts(config, case))
    prompts = rows.rows if rows else ()
    if prompts:
        yield from plans.online_plan(config, len(prompts))
    yield from plans.objective(config)
    model = yield from attempt(case.blueprints.exam(config.model, MODEL))
    if model:
        yield from _pace(config, model)
    groups: Sequence[TokenGroup] = ()
    written: Sequence[Group] = ()
    if rows and model:
        groups = (yield from attempt(rendering.seen(rows, model, config.prompt, case))) or ()
        if groups:
            written = (yield from attempt(_rehearsal(config, model, prompts, case))) or ()
    judge = None
    for spec in filter(trial.is_function, config.rewards):
        yield from attempt(_reward(spec, config, prompts, written, case))
    named = (yield from attempt(_reward_model(config))) or ""
    if named:
        judge = yield from attempt(case.blueprints.exam(named, REWARD_MODEL))
    if model is None:
        return None
    maker = case.recipe.stages.get(stage_name(named))
    lora = None
    if isinstance(maker, RewardConfig) and loads.on_one_backbone(config, maker):
        lora = maker.lora
    memory = partial(
        loads.online_memory,
        config,
        model.outline,
        groups,
        judge.outline if judge else None,
        reward_lora=lora,
    )
    lengths = _lengths(config, written)
    now, later = memory(lengths=lengths), memory()
    if later.peak > now.peak:
        yield _growth(config, sum(lengths) / len(lengths), later.peak, later.peak - now.peak)
    return now


def _pace(config: loads.Fixed | AnyOnPolicyConfig, model: Blueprint) -> Exam[None]:
    """The learning rate of a model from elsewhere; one that is born in the recipe takes more."""
    if isinstance(model.source, str):
        yield from rates.learning_rate(config, sum(p.numel() for p in model.outline.parameters()))


def _lengths(config: AnyOnPolicyConfig, written: Sequence[Group]) -> list[int]:
    """Lengths of a trial's responses; what the trial cut off may become as long as allowed."""
    return [
        len(one.token_ids) if one.finish == "stop" else config.sampling.max_tokens
        for group in written
        for one in group.responses
    ]


def _growth(config: AnyOnPolicyConfig, mean: float, peak: float, more: float) -> Finding:
    """What the policy would take beyond what is predicted if it came to write more."""
    text = (
        f"the policy writes about {mean:.0f} tokens; if it came to write "
        f"{config.sampling.max_tokens}, it would take {in_bytes(more)} more than predicted below"
    )
    if peak <= free_memory(pick_device(config.compute.device)):
        return ok(text)
    return warning(text, "lower sampling.max_tokens or compute.micro_batch_tokens")


def _rehearsal(
    config: AnyOnPolicyConfig, model: Blueprint, prompts: Sequence[Prompt], case: Case
) -> Exam[list[Group]]:
    """Responses of the policy, if it is there; one that stands in for it writes nothing of use."""
    if not model.is_small:
        yield ok("the model is too large to open here: sampler and reference were not compared")
        return []
    written = yield from trial.rehearsed(config, model, prompts, case)
    return [] if model.origin else written


def _reward_model(config: AnyOnPolicyConfig) -> Exam[str]:
    yield from ()
    return reward_model_of(config)


def _reward(
    spec: str,
    config: AnyOnPolicyConfig,
    prompts: Sequence[Prompt],
    written: Sequence[Group],
    case: Case,
) -> Exam[None]:
    yield from trial.with_references(spec, prompts)
    scorer = yield from trial.open_function(spec, case, config.prompt, config.compute)
    if scorer is None:
        return
    whose = "of the policy" if written else "from references and demonstrations"
    groups = written or trial.ready_made(prompts, case.responses)
    if groups:
        score = scorer.score if len(config.rewards) == 1 else partial(applied, scorer)
        yield trial.reward_signal(scorer.name, score, groups, whose)
    else:
        yield ok("there is no response yet to try the reward on")


def _sample(config: SampleConfig, case: Case) -> Exam[None]:
    rows = yield from attempt(materials.prompts(config, case))
    if rows:
        n = len(rows.rows)
        yield ok(
            f"{counted(n, 'prompt')} x {counted(config.k, 'response')} = {n * config.k:,} of at "
            f"most {counted(config.sampling.max_tokens, 'token')}"
        )
    yield from _answering(config.models, config.prompt, rows, case)


def _judge(config: JudgeConfig, case: Case) -> Exam[None]:
    groups = yield from attempt(materials.groups(config, case))
    if trial.is_function(config.judge):
        yield from trial.with_references(config.judge, [group.prompt for group in groups or ()])
        scorer = yield from attempt(
            trial.open_function(config.judge, case, config.prompt, config.compute)
        )
        if scorer and groups:
            yield trial.reward_signal(
                scorer.name, scorer.score, groups[:_JUDGED], "of these groups"
            )
    else:
        yield from attempt(case.blueprints.exam(config.judge, REWARD_MODEL))


def _evaluate(config: EvaluateConfig, case: Case) -> Exam[None]:
    rows = yield from attempt(materials.prompts(config, case))
    if rows:
        n, policies = len(rows.rows), len(config.models)
        each = max(config.k, config.best_of) + policies * config.k
        yield ok(
            f"{counted(n, 'prompt')} x {each} responses (baseline {max(config.k, config.best_of)}, "
            f"{counted(policies, 'policy')} {config.k} each) = {n * each:,}"
        )
    models = dict.fromkeys((config.baseline, *config.models))
    opened = yield from _answering(list(models), config.prompt, rows, case)
    yield from _one_vocabulary(opened)
    for judge in filter(None, (config.judge, config.reward_model)):
        if trial.is_function(judge):
            yield from trial.with_references(judge, rows.rows if rows else ())
            yield from attempt(trial.open_function(judge, case, config.prompt, config.compute))
        else:
            yield from attempt(case.blueprints.exam(judge, REWARD_MODEL))
    if config.preferences:
        read = formats.read_preferences
        yield from attempt(materials.present([config.preferences], HELD_OUT, read, case))


def _answering(
    models: Sequence[str],
    prompt: PromptConfig,
    rows: Material[Prompt] | None,
    case: Case,
) -> Exam[dict[str, Blueprint]]:
    """Policies that answer prompts; what they see is shown for the first."""
    opened: dict[str, Blueprint] = {}
    for reference in models:
        model = yield from attempt(case.blueprints.exam(reference, MODEL))
        if model:
            opened[reference] = model
    if rows and opened:
        yield from attempt(rendering.seen(rows, next(iter(opened.values())), prompt, case))
    return opened


def _one_vocabulary(policies: Mapping[str, Blueprint]) -> Exam[None]:
    """The KL compares policies token by token, so they share one tokenizer."""
    names = list(policies)
    for name in names[1:]:
        if not same_vocabulary(policies[name].tokenizer, policies[names[0]].tokenizer):
            yield problem(
                f"the tokenizer of {name} is not that of {names[0]}, and the KL compares token by "
                "token",
                "evaluate models of one tokenizer together",
            )
