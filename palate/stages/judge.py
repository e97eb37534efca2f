"""`judge`: judgements about groups into the store, and the dataset exported from them."""

from collections.abc import Iterable

from palate.config.stages import JudgeConfig
from palate.feedback.aggregate import settled
from palate.feedback.judges import ScorerJudge, SimulatedAnnotator
from palate.interfaces import Judge
from palate.records import Demonstration, Group, Judgement, Message, PreferenceGroup
from palate.stages import sources
from palate.stages.context import DEMONSTRATIONS, GROUPS, HELD_OUT, PREFERENCES, StageContext
from palate.stages.policies import open_scorer
from palate.store.database import Store
from palate.store.errors import DataError
from palate.store.formats import row_of, split_by_prompt


def run(config: JudgeConfig, context: StageContext) -> dict[str, float]:
    """Judge, store, read back what the store holds, settle it into preferences, split by prompt."""
    groups = comparable(sources.groups(context, config.groups), config, context)
    source = context.data(config.groups, GROUPS)
    groups = sources.verifiable(groups, config.judge, context, source=source)
    judgements = open_judge(config, context).judge(groups, seed=context.seed)
    said = {judgement.id for judgement in judgements}
    asked = {group.id for group in groups}
    with Store(context.store_url) as store:
        store.add_groups(context.project, groups)
        store.add_judgements(context.project, judgements)
        judged = [
            (group, [judgement for judgement in about if judgement.id in said])
            for group, about in store.judged_groups(context.project)
            if group.id in asked
        ]
    context.folder.write_jsonl("judgements.jsonl", judgements)
    train, held = split(judged, fraction=config.held_out_fraction, seed=context.seed)
    context.folder.write_jsonl(PREFERENCES, train)
    context.folder.write_jsonl(HELD_OUT, held)
    if config.ask == "best":
        context.folder.write_jsonl(DEMONSTRATIONS, best_responses(train))
    return {
        "groups": float(len(groups)),
        "judgements": float(len(judgements)),
        "preferences": float(sum(len(row.preferences) for row in train)),
        "held_out": float(sum(len(row.preferences) for row in held)),
    }


def comparable(groups: list[Group], config: JudgeConfig, context: StageContext) -> list[Group]:
    """Groups of two responses or more; there is nothing to judge about one of one."""
    source = context.data(config.groups, GROUPS)
    kept: list[Group] = []
    for group in groups:
        if group.k > 1:
            kept.append(group)
            continue
        error = DataError(
            "has one response, so there is nothing to compare it with",
            source=source,
            row=row_of(group, source, context.reading(source)),
            field="responses",
            remedy="give every prompt two responses or more (sample with k = 2), or leave such "
            'rows out with bad_rows = "skip"',
        )
        context.bad_rows(error)
    if not kept:
        raise DataError(
            "no group has two responses", source=source, remedy="sample with k = 2 or more"
        )
    return kept


def open_judge(config: JudgeConfig, context: StageContext) -> Judge:
    """A simulated annotator for `annotator:cafe`, else the named scorer judging without noise."""
    scorer = open_scorer(
        context,
        config.judge,
        prompt=config.prompt,
        compute=config.compute,
        policy=None,
    )
    if config.judge.startswith("annotator:"):
        return SimulatedAnnotator(
            scorer, noise=config.noise, ask=config.ask, pairs_per_group=config.pairs_per_group
        )
    return ScorerJudge(scorer, ask=config.ask, pairs_per_group=config.pairs_per_group)


def split(
    judged: Iterable[tuple[Group, list[Judgement]]], *, fraction: float, seed: int
) -> tuple[list[PreferenceGroup], list[PreferenceGroup]]:
    """(training, held-out) preferences; all judgements of a prompt land on the same side."""
    train: list[PreferenceGroup] = []
    held: list[PreferenceGroup] = []
    for group, judgements in judged:
        row = settled(group, judgements)
        if row is None:
            continue
        side = split_by_prompt(group.prompt.id, fraction=fraction, seed=seed)
        (held if side else train).append(row)
    return train, held


def best_responses(rows: Iterable[PreferenceGroup]) -> list[Demonstration]:
    """Each group's chosen response as a demonstration: best-of-n for rejection sampling."""
    return [
        Demonstration(
            messages=(
                *row.group.prompt.messages,
                Message(
                    role="assistant",
                    content=row.group.responses[row.preferences[0].winner].text,
                ),
            ),
            tag=row.group.prompt.tag,
        )
        for row in rows
        if row.group.prompt.messages and row.group.responses[row.preferences[0].winner].text
    ]
