"""`evaluate`: policies against a baseline on held-out prompts, by the true judge and the proxy."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, zip_longest

from palate.config.stages import EvaluateConfig
from palate.evaluation.policies import best_of_n_curve, mean_score, sequence_kl, writing
from palate.evaluation.results import (
    Answer,
    AnswerScore,
    BestOfN,
    Comparison,
    Difference,
    Evaluation,
    PolicyResult,
    RewardModelResult,
    RowResult,
    Sample,
    Settings,
)
from palate.evaluation.rewards import bayes_accuracy, row_probe
from palate.evaluation.winrate import Pairs, compare, outcomes, paired_difference
from palate.interfaces import Scorer
from palate.maths.seeds import seed
from palate.maths.statistics import Interval, best_of_n_kl_bound
from palate.records import Group, Prompt, PromptId, Response
from palate.stages import sources
from palate.stages.context import EVALUATION, HELD_OUT, PROMPTS, TIMING, StageContext
from palate.stages.policies import OpenPolicy, open_policy, open_scorer
from palate.stages.reward import measured
from palate.stages.sample import sampling_record
from palate.store.formats import read_preferences
from palate.store.runs import StageDir
from palate.training.learner import read_all
from palate.worlds import cafe

_SAMPLES = 12
_PROBE_PAIRS = 240


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What one policy wrote for every prompt, and what each judge gives it."""

    name: str
    groups: list[Group]
    scores: dict[str, list[tuple[float, ...]]]
    kl: Interval

    def flat(self, judge: str) -> list[float]:
        """Scores of all responses in order."""
        return [score for row in self.scores[judge] for score in row]

    @property
    def prompt_ids(self) -> list[PromptId]:
        """The prompt of every response in order."""
        return [group.prompt.id for group in self.groups for _ in group.responses]

    @property
    def lengths(self) -> list[int]:
        """Tokens of every response in order."""
        return [len(r.token_ids) for group in self.groups for r in group.responses]


class Evaluator:
    """One evaluation: its prompts, its judges and its baseline, opened once."""

    def __init__(self, config: EvaluateConfig, context: StageContext) -> None:
        self.config, self.context = config, context
        self.baseline = self._open(config.baseline)
        self.prompts = sources.askable(
            sources.prompts(context, config.prompts, limit=config.limit),
            self.baseline.encoder,
            max_tokens=config.sampling.max_tokens,
            source=context.data(config.prompts, PROMPTS),
        )
        self.taste = self._scorer(config.judge)
        self.proxy = self._scorer(config.reward_model) if config.reward_model else None
        self.judges = [self.taste, *([self.proxy] if self.proxy else [])]

    def _open(self, reference: str) -> OpenPolicy:
        config = self.config
        return open_policy(self.context, reference, prompt=config.prompt, compute=config.compute)

    def _scorer(self, spec: str) -> Scorer:
        return open_scorer(
            self.context,
            spec,
            prompt=self.config.prompt,
            compute=self.config.compute,
            policy=self.baseline,
        )

    def respond(self, reference: str, policy: OpenPolicy, k: int) -> list[Group]:
        """k responses of a policy to every prompt."""
        settings = self.config.sampling
        sampling = sampling_record(settings)
        name = reference.removeprefix("@")
        drawn = policy.sampler(settings).sample(
            [policy.encoder.encode_prompt(prompt) for prompt in self.prompts],
            k,
            seed=seed(self.context.seed, "evaluate", name),
        )
        return [
            Group(
                prompt=prompt,
                responses=tuple(
                    policy.encoder.response(r, policy=name, sampling=sampling) for r in rollouts
                ),
            )
            for prompt, rollouts in zip(self.prompts, drawn, strict=True)
        ]

    def answers(self, reference: str, policy: OpenPolicy, groups: list[Group]) -> Answers:
        """Responses with their scores and the policy's KL from the baseline on them."""
        tokens = [policy.encoder.encode_group(group) for group in groups]
        budget, rows = self.config.compute.micro_batch_tokens, []
        for opened in (policy, self.baseline):
            role = opened.role(temperature=self.config.sampling.temperature)
            logprobs = read_all(role, tokens, budget=budget).logprobs.double()
            rows.append([[float(value)] for value in logprobs.sum(dim=1)])
        prompt_ids = [group.prompt.id for group in groups for _ in group.responses]
        return Answers(
            name=reference.removeprefix("@"),
            groups=groups,
            scores={judge.name: judge.score(groups) for judge in self.judges},
            kl=sequence_kl(rows[0], rows[1], prompt_ids),
        )

    def written_by(self, reference: str) -> Answers:
        """What a contender writes; its network is let go before the next one is opened."""
        policy = self._open(reference)
        return self.answers(reference, policy, self.respond(reference, policy, self.config.k))

    def result(self, own: Answers, baseline: Answers | None) -> PolicyResult:
        """Everything that is said about one policy."""
        wrote, prompt_ids = writing(own.groups), own.prompt_ids
        usage = self._usage(own.name)
        comparisons = []
        if baseline is not None:
            pairs = Pairs(
                policy=own.name,
                baseline=baseline.name,
                prompt_ids=prompt_ids,
                policy_lengths=own.lengths,
                baseline_lengths=baseline.lengths,
            )
            comparisons = [
                compare(own.flat(j.name), baseline.flat(j.name), pairs, judge=j.name)
                for j in self.judges
            ]
            comparisons[1:] = [
                c.model_copy(update={"over_taste": over_taste(own, baseline, c, self.taste.name)})
                for c in comparisons[1:]
            ]
        return PolicyResult(
            name=own.name,
            responses=wrote.responses,
            comparisons=tuple(comparisons),
            kl=own.kl,
            scores=tuple(
                mean_score(own.flat(j.name), prompt_ids, judge=j.name) for j in self.judges
            ),
            mean_length=wrote.mean_length,
            distinct_1=wrote.distinct_1,
            distinct_2=wrote.distinct_2,
            repetition=wrote.repetition,
            eos_rate=wrote.eos_rate,
            seconds=usage.get("seconds", 0.0),
            peak_memory_mib=usage.get("peak_memory_mib", 0.0),
            **self._world_rows(own, baseline),
        )

    def _usage(self, name: str) -> dict[str, float]:
        folder = self.context.artifacts.get(name)
        if folder is None or not (folder / TIMING).is_file():
            return {}
        return json.loads((folder / TIMING).read_text(encoding="utf-8"))

    def _world_rows(self, own: Answers, baseline: Answers | None) -> dict:
        """The six rows of the taste and the share of right sums, in the embedded world."""
        if self.taste.name != "cafe":
            return {}
        values = row_values(own.groups)
        before = row_values(baseline.groups) if baseline else {}
        rows = [row_result(name, v, before.get(name), own.prompt_ids) for name, v in values.items()]
        return {"rows": tuple(rows[:-1]), "sums_right": rows[-1]}


def row_values(groups: Sequence[Group]) -> dict[str, list[float]]:
    """Every row of the taste, then `sums right`, for all responses; NaN where one has no say."""
    pairs = [(g.prompt.text, r.text) for g in groups for r in g.responses]
    assessed = [cafe.assess(prompt, response).rows for prompt, response in pairs]
    columns = [[rows[index] for rows in assessed] for index in range(len(cafe.ROWS))]
    columns.append([cafe.sum_is_right(*pair) for pair in pairs])
    return {
        name: [math.nan if value is None else float(value) for value in column]
        for name, column in zip((*cafe.ROWS, "sums right"), columns, strict=True)
    }


def row_result(
    name: str, values: list[float], before: list[float] | None, prompt_ids: Sequence[PromptId]
) -> RowResult:
    """The mean of a row where it applied, and its paired change from the baseline's answers."""
    applied = [value for value in values if not math.isnan(value)]
    return RowResult(
        name=name,
        value=sum(applied) / max(1, len(applied)),
        n=len(applied),
        change=paired_difference(values, before, prompt_ids) if before else None,
    )


def over_taste(
    own: Answers, baseline: Answers, comparison: Comparison, taste: str
) -> Interval | None:
    """A judge's win rate minus the taste's, on the same pairs of responses."""
    won = [outcomes(own.flat(judge), baseline.flat(judge)) for judge in (comparison.judge, taste)]
    return paired_difference(won[0], won[1], own.prompt_ids)


def differences(written: Sequence[Answers], judges: Sequence[Scorer]) -> tuple[Difference, ...]:
    """How much more often each policy wins against the baseline (the first) than each other."""
    baseline, *contenders = written
    found: list[Difference] = []
    for judge in (scorer.name for scorer in judges):
        won = {own.name: outcomes(own.flat(judge), baseline.flat(judge)) for own in contenders}
        for one, other in combinations(won, 2):
            gap = paired_difference(won[one], won[other], baseline.prompt_ids)
            if gap:
                found.append(Difference(policy=one, other=other, judge=judge, win_rate=gap))
    return tuple(found)


def run(config: EvaluateConfig, context: StageContext) -> dict[str, float]:
    """Write evaluation.json; the summary holds the win rates."""
    evaluator = Evaluator(config, context)
    opened = evaluator.baseline
    many = max(config.k, config.best_of)
    pool = evaluator.answers(
        config.baseline, opened, evaluator.respond(config.baseline, opened, many)
    )
    baseline = first(pool, config.k)
    results, written = [evaluator.result(baseline, None)], [baseline]
    if config.best_of:
        best = best_of(pool, evaluator, config.best_of, config.k)
        chosen = evaluator.result(best, baseline)
        results.append(chosen.model_copy(update={"kl_method": "bound"}))
        written.append(best)
    for number, reference in enumerate(config.models):
        own = evaluator.written_by(reference)
        results.append(evaluator.result(own, baseline))
        written.append(own)
        context.monitor.log(number, len(config.models), {})
    evaluation = Evaluation(
        baseline=baseline.name,
        taste=evaluator.taste.name,
        proxy=evaluator.proxy.name if evaluator.proxy else "",
        policies=tuple(results),
        differences=differences(written, evaluator.judges),
        reward_model=reward_model_result(evaluator),
        best_of_n=_curve(pool, evaluator),
        samples=side_by_side(written, evaluator),
        settings=Settings(
            prompts=config.prompts,
            num_prompts=len(evaluator.prompts),
            k=config.k,
            sampling=sampling_record(config.sampling),
        ),
        seeds=training_seeds(config, context),
    )
    context.folder.write_json(EVALUATION, evaluation.model_dump(mode="json"))
    return summary(evaluation)


def training_seeds(config: EvaluateConfig, context: StageContext) -> tuple[int, ...]:
    """The seeds of the stages that trained the evaluated policies, where this run has them."""
    named = [m.removeprefix("@") for m in (config.baseline, *config.models) if m.startswith("@")]
    return tuple(StageDir(context.artifacts[name]).manifest().seed for name in named)


def summary(evaluation: Evaluation) -> dict[str, float]:
    """Win rates under the true judge, with their intervals, and what else is required of a run."""
    values: dict[str, float] = {}
    for policy in evaluation.policies:
        if policy.sums_right.n:
            values[f"{policy.name}/sums_right"] = policy.sums_right.value
        values[f"{policy.name}/length"] = policy.mean_length.estimate
        values[f"{policy.name}/kl"] = policy.kl.estimate
        comparison = policy.against_baseline(evaluation.taste)
        if comparison:
            values[f"{policy.name}/win_rate"] = comparison.win_rate.estimate
            values[f"{policy.name}/win_rate_low"] = comparison.win_rate.low
    if evaluation.reward_model:
        values["reward_model/accuracy"] = evaluation.reward_model.accuracy.estimate
        values["reward_model/bayes"] = evaluation.reward_model.bayes_accuracy or 0.0
    return values


def first(answers: Answers, k: int) -> Answers:
    """The first k responses of every group."""
    groups = [Group(prompt=g.prompt, responses=g.responses[:k]) for g in answers.groups]
    scores = {judge: [row[:k] for row in rows] for judge, rows in answers.scores.items()}
    return Answers(name=answers.name, groups=groups, scores=scores, kl=answers.kl)


def best_of(pool: Answers, evaluator: Evaluator, n: int, k: int) -> Answers:
    """The best of n baseline responses by the proxy (else the taste), k copies to compare."""
    selector = (evaluator.proxy or evaluator.taste).name
    picks = [max(range(n), key=row.__getitem__) for row in pool.scores[selector]]
    groups, scores = [], {judge: [] for judge in pool.scores}
    for index, (group, pick) in enumerate(zip(pool.groups, picks, strict=True)):
        response: Response = group.responses[pick]
        groups.append(Group(prompt=group.prompt, responses=(response,) * k))
        for judge, rows in pool.scores.items():
            scores[judge].append((rows[index][pick],) * k)
    bound = best_of_n_kl_bound(n)
    return Answers(
        name=f"best_of_{n}", groups=groups, scores=scores, kl=Interval(bound, bound, bound)
    )


def _curve(pool: Answers, evaluator: Evaluator) -> tuple[BestOfN, ...]:
    k = len(next(iter(pool.scores.values()))[0])
    if evaluator.proxy is None or k < 2:
        return ()
    sizes = [n for n in (1, 2, 4, 8, 16, 32) if n <= k]
    return best_of_n_curve(pool.scores[evaluator.proxy.name], pool.scores, sizes)


def reward_model_result(evaluator: Evaluator) -> RewardModelResult | None:
    """Held-out accuracy of the reward model, with the limit of noisy labels where it is known."""
    config, proxy = evaluator.config, evaluator.proxy
    if proxy is None or not config.preferences:
        return None
    path = evaluator.context.data(config.preferences, HELD_OUT)
    rows = list(read_preferences(path, bad_rows=evaluator.context.bad_rows))
    groups = [row.group for row in rows]
    lengths = [tuple(len(r.token_ids) or len(r.text.split()) for r in g.responses) for g in groups]
    scores = proxy.score(groups)
    limit, probe = None, ()
    if evaluator.taste.name == "cafe":
        true = evaluator.taste.score(groups)
        differences = [
            true[i][p.winner] - true[i][p.loser]
            for i, row in enumerate(rows)
            for p in row.preferences
            if p.probability > 0.5
        ]
        limit = bayes_accuracy(differences, noise=config.annotator_noise)
        probe = _probe(proxy)
    return measured(
        rows,
        scores,
        lengths,
        seed=evaluator.context.seed,
        bayes_accuracy=limit,
        probe=probe,
    )


def _probe(proxy: Scorer) -> tuple[RowResult, ...]:
    """Accuracy on pairs that differ in one row of the taste alone."""
    pairs = cafe.probe_pairs(_PROBE_PAIRS, seed=0)
    groups = [
        Group(prompt=prompt, responses=(Response(text=better), Response(text=worse)))
        for _, prompt, better, worse in pairs
    ]
    scores = proxy.score(groups)
    return row_probe([name for name, *_ in pairs], [s[0] for s in scores], [s[1] for s in scores])


def side_by_side(written: Sequence[Answers], evaluator: Evaluator) -> tuple[Sample, ...]:
    """What every policy wrote for some prompts, one kind of prompt after the other."""
    samples = []
    for index in spread(evaluator.prompts, _SAMPLES):
        answers = tuple(
            Answer(
                policy=own.name,
                text=own.groups[index].responses[0].text,
                scores=tuple(
                    AnswerScore(judge=judge, value=rows[index][0])
                    for judge, rows in own.scores.items()
                ),
            )
            for own in written
        )
        samples.append(Sample(prompt=evaluator.prompts[index].text, answers=answers))
    return tuple(samples)


def spread(prompts: Sequence[Prompt], n: int) -> list[int]:
    """Indices of n prompts that take turns among the tags."""
    by_tag: dict[str, list[int]] = {}
    for index, prompt in enumerate(prompts):
        by_tag.setdefault(prompt.tag, []).append(index)
    turns = [index for row in zip_longest(*by_tag.values()) for index in row if index is not None]
    return turns[:n]
