"""Rows into preferences: TRL's explicit and implicit prompts, HH-RLHF's text pairs, rankings."""

import re

from palate.records import (
    Group,
    Message,
    Preference,
    PreferenceGroup,
    Prompt,
    Ranking,
    Response,
    preferences_of,
)
from palate.store.errors import RowError, described
from palate.store.formats.fields import (
    answered,
    asked,
    awaiting,
    completion,
    fields,
    items,
    messages,
    optional_number,
    prompt,
    prompt_of,
    text,
    with_system,
)
from palate.store.formats.parse import instruction_prompt, validated
from palate.store.tables import Row


def own_preferences(row: Row) -> PreferenceGroup:
    """palate's own format, which keeps everything."""
    own = {name: row[name] for name in ("group", "preferences")}
    return validated(PreferenceGroup, own, "")


def explicit_preference(row: Row) -> PreferenceGroup:
    """TRL's `prompt`, `chosen` and `rejected`, as text or messages.

    Where both sides repeat the prompt's turns (as UltraFeedback's do), it has to be the same one.
    """
    whole = isinstance(row["chosen"], list)
    if _repeats_dialogue(row):
        return implicit_preference(row)
    if not whole or messages(row["chosen"], "chosen")[0].role == "assistant":
        return _pair(prompt(row), row)
    group = implicit_preference(row)
    shared, stated = group.group.prompt.messages, with_system(row, asked(row["prompt"], "prompt"))
    users = [turn for turn in shared if turn.role == "user"]
    if stated != shared and (
        isinstance(row["prompt"], list) or stated[-1] not in (users[0], users[-1])
    ):
        raise RowError(
            "is not the prompt that chosen and rejected begin with",
            field="prompt",
            remedy="leave the field out, or leave its turns out of chosen and rejected",
        )
    return group


def _repeats_dialogue(row: Row) -> bool:
    """Whether `prompt` is HH-RLHF's text, and both sides go on from it."""
    begun = row["prompt"]
    if not isinstance(begun, str) or not _HH_TURN.match(begun):
        return False
    sides = (row["chosen"], row["rejected"])
    return all(isinstance(side, str) and side.startswith(begun.rstrip()) for side in sides)


def implicit_preference(row: Row) -> PreferenceGroup:
    """TRL's `chosen` and `rejected` conversations: the turns they share are the prompt."""
    chosen, rejected = (_whole_conversation(row[side], side) for side in ("chosen", "rejected"))
    shared = 0
    while shared < min(len(chosen), len(rejected)) and chosen[shared] == rejected[shared]:
        shared += 1
    if len(chosen) != len(rejected) or shared < len(chosen) - 1:
        raise RowError(
            f"has {len(rejected)} turns and shares the first {shared} with chosen, which has "
            f"{len(chosen)}: only the last turn may differ, because a group has one prompt",
            field="rejected",
            remedy="repair or leave out the row",
        )
    sides = {"chosen": chosen[-1].content, "rejected": rejected[-1].content}
    return _pair(prompt_of(chosen[:-1], row), row | sides)


def question_preference(row: Row) -> PreferenceGroup:
    """A question with `chosen` and `rejected` (as in Orca's pairs)."""
    return explicit_preference(row | {"prompt": row["question"]})


def instruction_preference(row: Row) -> PreferenceGroup:
    """Alpaca's `instruction` and `input` with `chosen` and `rejected`."""
    return _pair(instruction_prompt(row), row)


def sharegpt_preference(row: Row) -> PreferenceGroup:
    """ShareGPT's `conversations` with one turn each in `chosen` and `rejected`."""
    field = "conversations"
    return _pair(prompt_of(awaiting(messages(row[field], field), field), row), row)


def ranking(row: Row) -> PreferenceGroup:
    """NeMo-RL's `context` and `completions`: rank 0 is best, equal ranks tie."""
    ranks: list[int] = []
    texts: list[str] = []
    for i, item in enumerate(items(row["completions"], "completions")):
        field = f"completions[{i}]"
        entry = fields(item, field)
        ranks.append(_rank(entry.get("rank"), f"{field}.rank"))
        texts.append(completion(entry.get("completion"), f"{field}.completion"))
    if len(texts) < 2:
        raise RowError("a ranking needs at least two responses", field="completions")
    preferences = preferences_of(Ranking(ranks=tuple(ranks)), range(len(texts)))
    turns = asked(row["context"], "context")
    return _preferred(prompt_of(turns, row), tuple(texts), preferences, "completions")


def _rank(value: object, field: str) -> int:
    if type(value) is int and value >= 0:
        return value
    raise RowError(f"expected a rank, an integer from 0, found {described(value)}", field=field)


def _pair(question: Prompt, row: Row) -> PreferenceGroup:
    texts = completion(row["chosen"], "chosen"), completion(row["rejected"], "rejected")
    probability = optional_number(row, "probability", default=1.0)
    if not 0 <= probability <= 1:
        raise RowError(f"expected 0 to 1, found {probability}", field="probability")
    margin = optional_number(row, "margin", default=0.0)
    preference = Preference(winner=0, loser=1, probability=probability, margin=margin)
    return _preferred(question, texts, (preference,), "rejected")


def _preferred(
    question: Prompt, texts: tuple[str, ...], preferences: tuple[Preference, ...], field: str
) -> PreferenceGroup:
    for p in preferences:
        if texts[p.winner] == texts[p.loser] and p.probability != 0.5:
            raise RowError(
                "the response is equal to the one it is compared with",
                field=field,
                remedy='leave the row out, or mark a tie with "probability": 0.5',
            )
    group = Group(prompt=question, responses=tuple(Response(text=text) for text in texts))
    return PreferenceGroup(group=group, preferences=preferences)


_HH_TURN = re.compile(r"\n\n(Human|Assistant): ?")


def _whole_conversation(value: object, field: str) -> tuple[Message, ...]:
    turns = messages(_hh_turns(value, field) if isinstance(value, str) else value, field)
    if len(answered(turns, field)) == 1:
        raise RowError("holds no prompt", field=field, remedy="put the prompt into its own field")
    return turns


def _hh_turns(value: str, field: str) -> list[object]:
    before, *parts = _HH_TURN.split(text(value, field))
    if before.strip() or not parts:
        raise RowError(
            "the row has no prompt, and the text is no dialogue",
            field=field,
            remedy="add a prompt field, or begin turns with '\\n\\nHuman: ', '\\n\\nAssistant: '",
        )
    roles = {"Human": "user", "Assistant": "assistant"}
    speakers, contents = parts[::2], parts[1::2]
    return [{"role": roles[s], "content": c} for s, c in zip(speakers, contents, strict=True)]
