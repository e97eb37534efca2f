"""Rows of other tools: HH-RLHF, LLaMA-Factory, HelpSteer3, UltraFeedback and OpenAssistant trees.

A format that cannot hold a group refuses it with a `DataError`; whoever writes counts those.
"""

from collections.abc import Sequence
from typing import cast

from palate.records import (
    Choice,
    Group,
    JudgedGroup,
    Judgement,
    Message,
    PreferenceGroup,
    Preferences,
    Prompt,
    Ranking,
    Rating,
    Response,
    Scores,
    Tie,
    content_id,
)
from palate.store.errors import DataError, RowError
from palate.store.formats.fields import (
    asked,
    fields,
    filled_text,
    in_order,
    items,
    listing,
    number,
    optional_text,
    prompt_of,
    text,
)
from palate.store.formats.parse import instruction_prompt, validated
from palate.store.formats.write import graded_preference_rows, ranking_row
from palate.store.tables import Row

_GRADES = 3
"""HelpSteer3 grades preferences from 1 to 3; our strength 4 is its 3."""


def held_by(group: Group, reason: str) -> DataError:
    """The format cannot hold this group."""
    return DataError(
        reason,
        source=f"group {group.id}",
        remedy="export judgements, palate's own format, which keeps everything",
    )


# Pairs, written


def _turns(row: Row) -> list[tuple[str, str]]:
    turns = cast("list[dict[str, str]]", row["prompt"])
    return [(turn["role"], turn["content"]) for turn in turns]


def _text(row: Row, side: str) -> str:
    return cast("list[dict[str, str]]", row[side])[0]["content"]


def hh_rows(group: PreferenceGroup) -> list[Row]:
    """HH-RLHF's two texts of user and assistant turns."""
    names = {"user": "Human", "assistant": "Assistant"}
    rows: list[Row] = []
    for row in graded_preference_rows(group):
        turns = _turns(row)
        contents = [content for _, content in turns]
        contents += [_text(row, side) for side in ("chosen", "rejected")]
        if any(role not in names for role, _ in turns):
            raise held_by(group.group, "HH-RLHF knows only user and assistant turns")
        if any(f"\n\n{name}:" in content for content in contents for name in names.values()):
            raise held_by(group.group, "a turn holds the text that begins turns in HH-RLHF")
        shared = "".join(f"\n\n{names[role]}: {content}" for role, content in turns)
        rows.append(
            {side: f"{shared}\n\nAssistant: {_text(row, side)}" for side in ("chosen", "rejected")}
        )
    return rows


def alpaca_rows(group: PreferenceGroup) -> list[Row]:
    """LLaMA-Factory's Alpaca pairs: `instruction`, `history` of earlier turns, `system`."""
    rows: list[Row] = []
    for row in graded_preference_rows(group):
        turns = _turns(row)
        system = [content for role, content in turns if role == "system"]
        talk = [(role, content) for role, content in turns if role != "system"]
        if any(role == "tool" for role, _ in talk) or system == [""]:
            raise held_by(group.group, "Alpaca rows hold no tool turns and no empty system turn")
        earlier = [content for _, content in talk[:-1]]
        new: Row = {"instruction": talk[-1][1], "input": ""}
        new |= {"chosen": _text(row, "chosen"), "rejected": _text(row, "rejected")}
        if system:
            new["system"] = system[0]
        if earlier:
            new["history"] = [list(pair) for pair in zip(earlier[::2], earlier[1::2], strict=True)]
        rows.append(new)
    return rows


def sharegpt_rows(group: PreferenceGroup) -> list[Row]:
    """LLaMA-Factory's ShareGPT pairs: `conversations`, and one turn each as chosen, rejected."""
    names = {"system": "system", "user": "human", "assistant": "gpt", "tool": "observation"}
    return [
        {
            "conversations": [
                {"from": names[role], "value": content} for role, content in _turns(row)
            ],
            "chosen": {"from": "gpt", "value": _text(row, "chosen")},
            "rejected": {"from": "gpt", "value": _text(row, "rejected")},
        }
        for row in graded_preference_rows(group)
    ]


# HelpSteer3


def helpsteer_rows(judged: JudgedGroup) -> list[Row]:
    """One row per pair that people chose between, with every vote from -3 to 3 and their mean."""
    group = judged.group
    votes: dict[tuple[int, int], list[int]] = {}
    for judgement in judged.judgements:
        shown = judgement.order or tuple(range(group.k))
        if len(shown) != 2 or not isinstance(judgement.verdict, Choice | Tie):
            continue
        low, high = sorted(shown)
        score = 0
        if isinstance(judgement.verdict, Choice):
            grade = min(judgement.verdict.strength, _GRADES)
            score = -grade if judgement.verdict.chosen == low else grade
        votes.setdefault((low, high), []).append(score)
    if not votes:
        raise held_by(group, "HelpSteer3 holds choices and ties between two responses")
    if group.prompt.token_ids:
        raise held_by(group, "the prompt is token ids")
    context = [message.model_dump(mode="json") for message in group.prompt.messages]
    return [
        {
            "context": context,
            "response1": group.responses[low].text,
            "response2": group.responses[high].text,
            "overall_preference": _rounded(sum(scores) / len(scores)),
            "individual_preference": [{"score": score} for score in scores],
        }
        for (low, high), scores in votes.items()
    ]


def _rounded(mean: float) -> int:
    """The nearest integer, halves away from 0."""
    return int(abs(mean) + 0.5) * (1 if mean >= 0 else -1)


def helpsteer(row: Row, judge: str) -> list[JudgedGroup]:
    """HelpSteer3: the votes, each a judge of its own, else the overall preference; 0 is a tie."""
    question = prompt_of(asked(row["context"], "context"), row)
    texts = [filled_text(row[field], field) for field in ("response1", "response2")]
    group = Group(prompt=question, responses=tuple(Response(text=text) for text in texts))
    individual = row.get("individual_preference")
    if not individual:
        scores = {judge: _score(row["overall_preference"], "overall_preference")}
    else:
        field = "individual_preference"
        scores = {
            f"{judge}/{i + 1}": _score(fields(item, field).get("score"), f"{field}[{i}].score")
            for i, item in enumerate(items(individual, field))
        }
    judgements = tuple(
        Judgement(group_id=group.id, judge=name, verdict=_graded(score), order=(0, 1))
        for name, score in scores.items()
    )
    return [JudgedGroup(group=group, judgements=judgements)]


def _score(value: object, field: str) -> int:
    score = number(value, field)
    if score != int(score) or abs(score) > _GRADES:
        raise RowError(f"expected an integer from -3 to 3, found {score:g}", field=field)
    return int(score)


def _graded(score: int) -> Choice | Tie:
    return Choice(chosen=int(score > 0), strength=abs(score)) if score else Tie()


# UltraFeedback


def ultrafeedback_rows(judged: JudgedGroup) -> list[Row]:
    """The mean score of every response, and ratings per dimension on which judges agree."""
    group = judged.group
    scores = [j.verdict.values for j in judged.judgements if isinstance(j.verdict, Scores)]
    ratings: dict[str, list[tuple[int, ...]]] = {}
    for judgement in judged.judgements:
        if isinstance(judgement.verdict, Rating):
            ratings.setdefault(judgement.verdict.dimension, []).append(judgement.verdict.values)
    turns = group.prompt.messages
    if not (scores or ratings) or [turn.role for turn in turns] != ["user"]:
        raise held_by(group, "UltraFeedback holds scores or ratings of answers to one user turn")
    agreed = {name: rows[0] for name, rows in ratings.items() if len(set(rows)) == 1}
    completions: list[Row] = []
    for i, response in enumerate(group.responses):
        entry: Row = {
            "model": response.policy,
            "response": response.text,
            "annotations": {name: {"Rating": str(row[i])} for name, row in agreed.items()},
        }
        if scores:
            entry["overall_score"] = sum(row[i] for row in scores) / len(scores)
        completions.append(entry)
    return [{"instruction": turns[0].content, "completions": completions}]


def ultrafeedback(row: Row, judge: str) -> list[JudgedGroup]:
    """UltraFeedback: `overall_score` as scores, `annotations` as ratings; "N/A" is no rating."""
    entries = [
        fields(item, f"completions[{i}]")
        for i, item in enumerate(items(row["completions"], "completions"))
    ]
    responses = [
        Response(
            text=filled_text(entry.get("response"), f"completions[{i}].response"),
            policy=optional_text(entry, "model"),
        )
        for i, entry in enumerate(entries)
    ]
    group = Group(prompt=instruction_prompt(row), responses=tuple(responses))
    judgements: list[Judgement] = []
    if all(entry.get("overall_score") is not None for entry in entries):
        values = [
            number(entry["overall_score"], f"completions[{i}].overall_score")
            for i, entry in enumerate(entries)
        ]
        judgements.append(
            Judgement(group_id=group.id, judge=judge, verdict=Scores(values=tuple(values)))
        )
    for name in _dimensions(entries):
        rated = [_rating(entry, name, i) for i, entry in enumerate(entries)]
        known = tuple(rating for rating in rated if rating is not None)
        if len(known) == len(rated):
            verdict = Rating(dimension=name, values=known)
            judgements.append(Judgement(group_id=group.id, judge=judge, verdict=verdict))
    return [JudgedGroup(group=group, judgements=tuple(judgements))]


def _dimensions(entries: Sequence[Row]) -> list[str]:
    named = [fields(entry.get("annotations") or {}, "annotations") for entry in entries]
    return list(dict.fromkeys(name for annotations in named for name in annotations))


def _rating(entry: Row, name: str, i: int) -> int | None:
    annotations = fields(entry.get("annotations") or {}, "annotations")
    value = fields(annotations.get(name) or {}, name).get("Rating")
    if value is None or value == "N/A":
        return None
    field = f"completions[{i}].annotations.{name}.Rating"
    rating = number(value, field)
    if rating not in (1, 2, 3, 4, 5):
        raise RowError(f"expected 1 to 5, found {value}", field=field)
    return int(rating)


# OpenAssistant trees

_PROMPTER = {"user": "prompter", "assistant": "assistant"}


def oasst_row(group: PreferenceGroup) -> Row:
    """A tree with one branch up to the question, and the answers with their ranks."""
    ranked = ranking_row(group)
    turns = group.group.prompt.messages
    if any(turn.role not in _PROMPTER for turn in turns):
        raise held_by(group.group, "OpenAssistant's trees know only prompter and assistant")
    texts = [response.text for response in group.group.responses]
    tree = content_id([group.group.prompt.id, texts])
    ids = [content_id([tree, depth]) for depth in range(len(turns))]
    completions = cast("list[Row]", ranked["completions"])
    replies: list[Row] = [
        {
            "message_id": content_id([tree, "reply", i]),
            "parent_id": ids[-1],
            "text": texts[i],
            "role": "assistant",
            "rank": entry["rank"],
            "replies": list[Row](),
        }
        for i, entry in enumerate(completions)
    ]
    node: Row = {}
    for depth in reversed(range(len(turns))):
        node = {
            "message_id": ids[depth],
            "parent_id": ids[depth - 1] if depth else None,
            "text": turns[depth].content,
            "role": _PROMPTER[turns[depth].role],
            "replies": replies,
        }
        replies = [node]
    return {"message_tree_id": tree, "prompt": node}


def oasst(row: Row, judge: str) -> list[JudgedGroup]:
    """Every question of a tree with two ranked answers or more; a deleted one is left out."""
    found: list[JudgedGroup] = []
    _walk(fields(row["prompt"], "prompt"), (), judge, found)
    return found


def _walk(node: Row, before: tuple[Message, ...], judge: str, found: list[JudgedGroup]) -> None:
    role = text(node.get("role"), "role")
    turn = Message(
        role="assistant" if role == "assistant" else "user",
        content=filled_text(node.get("text"), "text"),
    )
    turns = in_order((*before, turn), "replies")
    replies = [fields(reply, "replies") for reply in listing(node, "replies")]
    ranked = [r for r in replies if type(r.get("rank")) is int and not r.get("deleted")]
    if role != "assistant" and len(ranked) > 1:
        group = Group(
            prompt=Prompt(messages=turns),
            responses=tuple(
                Response(
                    text=filled_text(reply.get("text"), "text"),
                    policy=optional_text(reply, "model_name"),
                )
                for reply in ranked
            ),
        )
        verdict = Ranking(ranks=tuple(cast("int", reply["rank"]) for reply in ranked))
        judgement = Judgement(group_id=group.id, judge=judge, verdict=verdict)
        found.append(JudgedGroup(group=group, judgements=(judgement,)))
    for reply in replies:
        _walk(reply, turns, judge, found)


# palate's own


def own_judgements(row: Row, judge: str) -> list[JudgedGroup]:
    """Groups with every judgement as it was made: nothing is lost, judges keep their names."""
    del judge
    judgements = [fields(item, "judgements") for item in listing(row, "judgements")]
    own = {"group": row["group"], "judgements": [_without_nulls(said) for said in judgements]}
    return [validated(JudgedGroup, own, "")]


def _without_nulls(judgement: Row) -> Row:
    """The judgement with the fields of its own verdict: a Parquet column has those of all kinds."""
    verdict = fields(judgement.get("verdict"), "judgements.verdict")
    own = {name: value for name, value in verdict.items() if value is not None}
    return judgement | {"verdict": own}


def ranked_completions(row: Row, judge: str, group: PreferenceGroup) -> list[JudgedGroup]:
    """NeMo-RL's ranking as the ranking that it is."""
    ranks = tuple(
        cast(int, fields(item, "completions")["rank"])
        for item in items(row["completions"], "completions")
    )
    verdict = Ranking(ranks=ranks)
    judgement = Judgement(group_id=group.group.id, judge=judge, verdict=verdict)
    return [JudgedGroup(group=group.group, judgements=(judgement,))]


def stated_preferences(group: PreferenceGroup, judge: str) -> list[JudgedGroup]:
    """What a file says about a group, with its probabilities and margins."""
    verdict = Preferences(pairs=group.preferences)
    judgement = Judgement(group_id=group.group.id, judge=judge, verdict=verdict)
    return [JudgedGroup(group=group.group, judgements=(judgement,))]
