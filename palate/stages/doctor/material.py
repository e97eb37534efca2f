"""What a stage reads: whether it is there and parses, how many rows, and what is odd about them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar

from palate.batches.groups import TokenGroup
from palate.config.onpolicy import AnyOnPolicyConfig
from palate.config.stages import (
    DpoConfig,
    EvaluateConfig,
    JudgeConfig,
    PretrainConfig,
    RewardConfig,
    SampleConfig,
    SftConfig,
)
from palate.models.tokens import Encoder
from palate.records import Demonstration, Group, PreferenceGroup, Prompt, Record, Unpaired
from palate.stages import sources
from palate.stages.context import CORPUS, DEMONSTRATIONS, GROUPS, PREFERENCES, PROMPTS
from palate.stages.doctor.blueprints import Case
from palate.stages.doctor.places import parts_of, place_of, promised
from palate.stages.doctor.verdicts import Exam, counted, ok, problem, problem_of, warning
from palate.stages.dpo import judged_only
from palate.stages.encoding import asked, demonstrated, labelled, preferred
from palate.store import formats
from palate.store.errors import BadRows, Skipped, refuse
from palate.store.formats import Reading

_EXAMPLES = 24

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Material(Generic[T]):
    """The rows that a stage trains on (or answers), and how one of them becomes tokens.

    `max_response_tokens` is the longest response that may be read, or that will be written; `use`
    is what training does with the tokens that count; `source` is the file that the rows are from.
    """

    rows: Sequence[T]
    encode: Callable[[Encoder, T], TokenGroup]
    max_response_tokens: int
    use: str = "trained"
    source: str = ""


class Reader(Protocol[T_co]):
    """Streams the records of a file; bad rows go to `bad_rows`."""

    def __call__(self, source: str, *, reading: Reading, bad_rows: BadRows) -> Iterator[T_co]:
        """The good rows."""
        ...


def present(parts: Sequence[str], file: str, read: Reader[object], case: Case) -> Exam[bool]:
    """Whether all of the parts can be read now; a verdict for each that cannot, or not yet.

    `file` is what an earlier stage calls this kind of data.
    """
    complete = True
    for part in parts:
        match place_of(part, case.context):
            case "later":
                yield from promised(case.recipe, part, file)
                complete = False
            case "hub":
                yield ok(f"{part}: no file here, so it will be fetched from the Hub")
                complete = False
            case "here" if not part.startswith("cafe:"):
                path = case.context.data(part, file)
                bad = yield from unreadable(path, read, case)
                unread = _unread(
                    case.context.data(part, file),
                    file,
                    case.context.reading(case.context.data(part, file)),
                )
                if unread:
                    yield ok(f"{part}: fields that are not read: {', '.join(unread)}")
                complete = complete and not bad
            case _:
                pass
    return complete


def _unread(path: str, file: str, reading: Reading) -> list[str]:
    """Fields that nobody reads in a file of that name; those of documents are the user's own."""
    kinds: dict[str, type[Record]] = {
        DEMONSTRATIONS: Demonstration,
        PREFERENCES: PreferenceGroup,
    }
    return formats.unread_fields(kinds[file], path, reading) if file in kinds else []


def unreadable(path: str, read: Reader[object], case: Case) -> Exam[int]:
    """How many rows of a file stop the stage; it would refuse the first, or leave them out."""
    skipped = Skipped()
    good = sum(1 for _ in read(path, reading=case.context.reading(path), bad_rows=skipped))
    if not skipped.count:
        return 0
    share = f"{skipped.count:,} of {counted(good + skipped.count, 'row')} cannot be read"
    if not good or case.context.bad_rows is refuse:
        yield problem_of(skipped.first[0], how_many=f"{share}: ")
        return skipped.count
    first = problem_of(skipped.first[0], how_many=f"{share} and will be left out, the first: ")
    yield warning(first.text, first.remedy)
    return 0


def documents(config: PretrainConfig, case: Case) -> Exam[Material[str] | None]:
    """The corpus of `pretrain`."""
    read = partial(formats.read_texts, field=config.text_field)
    if not (yield from present(parts_of(config.corpus), CORPUS, read, case)):
        return None
    rows = sources.texts(case.context, config.corpus, config.text_field)[: config.limit or None]
    characters = sum(map(len, rows))
    yield ok(f"{config.corpus}: {counted(len(rows), 'document')}, {characters:,} characters")
    return Material(rows=rows, encode=Encoder.encode_text, max_response_tokens=config.block_tokens)


def demonstrations(config: SftConfig, case: Case) -> Exam[Material[Demonstration] | None]:
    """The demonstrations of `sft`."""
    read = formats.read_demonstrations
    if not (yield from present([config.data], DEMONSTRATIONS, read, case)):
        return None
    rows, held = sources.demonstrations(
        case.context, config.data, held_out_fraction=config.held_out_fraction
    )
    yield ok(
        f"{config.data}: {counted(len(rows), 'demonstration')} to train on, {len(held):,} held out"
    )
    case.responses.extend(row.response for row in rows[:_EXAMPLES])
    return Material(
        rows=rows,
        encode=demonstrated(config.train_on),
        max_response_tokens=config.max_response_tokens,
        source=case.context.data(config.data, DEMONSTRATIONS),
    )


def preferences(
    config: RewardConfig | DpoConfig, case: Case
) -> Exam[Material[PreferenceGroup] | None]:
    """The preferences of `reward` and of DPO's family."""
    if not (yield from present([config.data], PREFERENCES, formats.read_preferences, case)):
        return None
    rows, held = sources.preferences(
        case.context, config.data, held_out_fraction=config.held_out_fraction
    )
    yield ok(
        f"{config.data}: {counted(len(rows), 'judged group')} to train on, {len(held):,} held out"
    )
    yield from decided([*rows, *held])
    if isinstance(config, DpoConfig):
        return Material(
            rows=[judged_only(row) for row in rows],
            encode=preferred,
            max_response_tokens=config.max_response_tokens,
            source=case.context.data(config.data, PREFERENCES),
        )
    if not held:
        yield warning(
            "no preference is held out, so nobody will know how good the reward model is",
            "raise held_out_fraction, here or in the judge stage",
        )
    further = yield from auxiliary(config, case, held)
    return _to_score(config, case, [*rows, *further.rows])


def auxiliary(
    config: RewardConfig, case: Case, held: Sequence[PreferenceGroup] = ()
) -> Exam[Material[PreferenceGroup]]:
    """What `reward` trains on beside `data`, as far as it is there."""
    source = config.auxiliary_data
    there = source and (yield from present([source], PREFERENCES, formats.read_preferences, case))
    rows = sources.auxiliary_preferences(case.context, source if there else "", held=held)
    if rows:
        yield ok(f"{source}: {counted(len(rows), 'judged group')} to train on beside them")
        yield from decided(rows)
    return _to_score(config, case, rows)


def _to_score(
    config: RewardConfig, case: Case, rows: Sequence[PreferenceGroup]
) -> Material[PreferenceGroup]:
    return Material(
        rows=rows,
        encode=preferred,
        max_response_tokens=config.max_response_tokens,
        use="scored at its last token",
        source=case.context.data(config.data, PREFERENCES) if rows else "",
    )


def decided(rows: Sequence[PreferenceGroup]) -> Exam[None]:
    """Ties, and preferences between equal texts."""
    pairs = [(row.group.responses, p) for row in rows for p in row.preferences]
    ties = sum(p.probability == 0.5 for _, p in pairs)
    equal = sum(
        p.probability != 0.5 and responses[p.winner].text == responses[p.loser].text
        for responses, p in pairs
    )
    text = f"{counted(len(pairs), 'preference')}, {counted(ties, 'tie')} ({ties / len(pairs):.1%})"
    if ties == len(pairs):
        yield problem(f"{text}: nothing is preferred to anything", "ask for decided judgements")
    else:
        yield ok(text)
    if equal:
        yield warning(
            f"{counted(equal, 'preference')} between equal texts (chosen == rejected)",
            "leave such rows out: they teach nothing, or mark them as ties",
        )


def unpaired(config: DpoConfig, case: Case) -> Exam[Material[Unpaired] | None]:
    """The labelled responses of KTO."""
    judged = config.data.startswith("@")
    read = formats.read_preferences if judged else formats.read_unpaired
    if not (yield from present([config.data], PREFERENCES, read, case)):
        return None
    rows, held = sources.unpaired(
        case.context, config.data, held_out_fraction=config.held_out_fraction
    )
    good = sum(row.desirable for row in rows)
    text = f"{config.data}: {good:,} desirable and {len(rows) - good:,} undesirable responses"
    if 0 < good < len(rows):
        yield ok(f"{text} to train on, {len(held):,} held out")
    else:
        yield problem(f"{text}: KTO compares the two", "give it responses of both kinds")
    return Material(
        rows=rows,
        encode=labelled,
        max_response_tokens=config.max_response_tokens,
        source=case.context.data(config.data, PREFERENCES),
    )


def prompts(
    config: AnyOnPolicyConfig | SampleConfig | EvaluateConfig, case: Case
) -> Exam[Material[Prompt] | None]:
    """The prompts of every stage that samples."""
    if not (yield from present([config.prompts], PROMPTS, formats.read_prompts, case)):
        return None
    limit = 0 if isinstance(config, AnyOnPolicyConfig) else config.limit
    rows = sources.prompts(case.context, config.prompts, limit=limit)
    yield ok(f"{config.prompts}: {counted(len(rows), 'distinct prompt')}")
    return Material(
        rows=rows,
        encode=asked,
        max_response_tokens=config.sampling.max_tokens,
        source=case.context.data(config.prompts, PROMPTS),
    )


def groups(config: JudgeConfig, case: Case) -> Exam[list[Group]]:
    """The groups of `judge`; empty while they are still to be sampled."""
    if not (yield from present([config.groups], GROUPS, formats.read_groups, case)):
        return []
    rows = sources.groups(case.context, config.groups)
    yield ok(f"{config.groups}: {counted(len(rows), 'group')}")
    single = sum(group.k == 1 for group in rows)
    if single and config.ask != "scores":
        yield problem(
            f"{counted(single, 'group')} of one response: there is nothing to compare",
            'sample with k >= 2, or set ask = "scores"',
        )
    same = sum(group.k > 1 and len({r.text for r in group.responses}) == 1 for group in rows)
    if same:
        yield warning(
            f"in {counted(same, 'group')} all responses are equal, and nothing can be preferred",
            "sample at a higher temperature or with a larger k",
        )
    return rows
