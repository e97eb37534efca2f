"""What the model will see: one example token by token, and the usual traps counted over many."""

from collections.abc import Sequence
from itertools import groupby
from typing import TypeVar

from rich.text import Text
from transformers import PreTrainedTokenizerBase

from palate.batches.groups import TokenGroup
from palate.config.common import PromptConfig
from palate.models.templates import Unfit
from palate.models.tokens import Encoder, special_ids
from palate.records import Record
from palate.stages.context import StageContext
from palate.stages.doctor.blueprints import Blueprint, Case
from palate.stages.doctor.material import Material
from palate.stages.doctor.verdicts import Exam, Finding, counted, ok, problem, problem_of, warning
from palate.stages.encoding import Places, oddities
from palate.store.errors import refuse

T = TypeVar("T", bound=Record)
Row = TypeVar("Row")

_ROWS = 2000
_SHOWN = 120
_LONGEST_CHARACTER = 4  # tokens: bytes of UTF-8

PROMPT, TRAINED, UNTRAINED = "dim", "green", "yellow"


def seen(
    rows: Material[T], model: Blueprint, prompt: PromptConfig, case: Case
) -> Exam[list[TokenGroup]]:
    """The rows as tokens: lengths, traps and one example."""
    encoder = model.encoder(prompt)
    limit = rows.max_response_tokens
    kept, groups = yield from encoded(rows, encoder, case.context)
    if not groups:
        return []
    yield from lengths(groups, encoder, prompt, max_response_tokens=limit)
    yield from traps(groups, encoder)
    for oddity in oddities(kept, groups, encoder):
        yield (problem if oddity.serious else warning)(oddity.text, oddity.remedy)
    yield example(groups[0], model.tokenizer, use=rows.use)
    return groups


def encoded(
    material: Material[T], encoder: Encoder, context: StageContext
) -> Exam[tuple[list[T], list[TokenGroup]]]:
    """At most 2,000 rows and their tokens, evenly spaced over the data; those that cannot become
    tokens are counted."""
    some = _some(material)
    kept: list[T] = []
    groups: list[TokenGroup] = []
    unfit: list[tuple[T, Unfit]] = []
    for row in some:
        try:
            groups.append(material.encode(encoder, row))
            kept.append(row)
        except Unfit as error:
            unfit.append((row, error))
    if unfit:
        row, error = unfit[0]
        first = Places(material.source, context.reading(material.source)).named(row, error)
        share = f"{len(unfit):,} of {counted(len(some), 'row')} cannot become tokens: "
        refused = context.bad_rows is refuse or not groups
        found = problem_of(first, how_many=share)
        yield found if refused else warning(f"{found.text} (left out)", found.remedy)
    return kept, groups


def _some(material: Material[Row]) -> Sequence[Row]:
    return material.rows[:: max(1, -(-len(material.rows) // _ROWS))]


def as_tokens(material: Material[Row], encoder: Encoder) -> list[TokenGroup]:
    """At most 2,000 rows as tokens, evenly spaced over the data."""
    return [material.encode(encoder, row) for row in _some(material)]


def lengths(
    groups: Sequence[TokenGroup],
    encoder: Encoder,
    config: PromptConfig,
    *,
    max_response_tokens: int,
) -> Exam[None]:
    """The longest prompt and response, and how many rows are too long for the stage."""
    prompt = max(len(group.prompt) for group in groups)
    response = max((len(r) for group in groups for r in group.responses), default=0)
    context = f", the model's context is {encoder.context}" if encoder.context else ""
    text = f"prompts have up to {prompt} tokens (limit {config.max_tokens})"
    if response:
        text += f", responses up to {response} (limit {max_response_tokens})"
    yield ok(text + context)
    over = [g for g in groups if not encoder.admits(g, max_response_tokens=max_response_tokens)]
    if over:
        share = f"{len(over):,} of {counted(len(groups), 'row')} ({len(over) / len(groups):.1%})"
        yield _too_long(share, config, reads=bool(response), all_of_them=over == list(groups))


def _too_long(share: str, config: PromptConfig, *, reads: bool, all_of_them: bool) -> Finding:
    if not reads:
        return warning(
            f"{share} exceed prompt.max_tokens or leave fewer than sampling.max_tokens of context",
            "shorten these prompts, or lower sampling.max_tokens",
        )
    remedy = "raise prompt.max_tokens or max_response_tokens, or give the model a longer context"
    if all_of_them:
        return problem(f"{share} are too long: nothing is left to train on", remedy)
    if config.over_long == "skip":
        return warning(f"{share} are too long and will be left out", remedy)
    return problem(
        f"{share} are too long, and the stage stops at the first",
        f'{remedy}, or set prompt.over_long = "skip"',
    )


def traps(groups: Sequence[TokenGroup], encoder: Encoder) -> Exam[None]:
    """BOS and EOS counts, padding, a date, and what could not be tokenized as it stands."""
    found = [_bos(groups, encoder), *_eos(groups, encoder), _pad(encoder)]
    yield from (finding for finding in found if finding.level != "ok")
    yield ok("; ".join(finding.text for finding in found if finding.level == "ok"))
    if encoder.template and encoder.template.dated:
        yield ok(f"the chat template writes a date: that of prompt.date, {encoder.config.date}")
    responses = counted(sum(group.k for group in groups), "response")
    if encoder.boundary_merges:
        yield warning(
            f"{encoder.boundary_merges:,} of {responses} would merge with the end of the prompt "
            "into one token, and are tokenized alone",
            "begin responses with the space or newline that separates them from the prompt",
        )
    if encoder.foreign_responses:
        yield warning(
            f"{encoder.foreign_responses:,} of {responses} carry token ids of another tokenizer; "
            "their text is tokenized again",
            "sample them with the model that trains on them, if the very ids matter",
        )


def _bos(groups: Sequence[TokenGroup], encoder: Encoder) -> Finding:
    bos = special_ids(encoder.tokenizer).bos
    if bos is None:
        return ok("BOS: the tokenizer has none, and none is added")
    # A template may write it again, before every turn or behind it; typed text cannot.
    heads = [g.prompt[:2] if encoder.template else g.prompt for g in groups]
    counts = [head.count(bos) for head in heads]
    more = sum(count > 1 for count in counts)
    if more and encoder.template:
        return problem(
            f"BOS: {more:,} of {counted(len(groups), 'prompt')} begin with two",
            "remove bos_token from the chat template, or from what the tokenizer adds",
        )
    if more:
        return problem(
            f"BOS: {more:,} of {counted(len(groups), 'prompt')} hold more than one",
            "remove BOS from the prompts' text; it is added",
        )
    if 0 in counts:
        return ok("BOS: none; the tokenizer has one, but neither it nor the template writes it")
    return ok("BOS: exactly one at the beginning of every prompt")


def _eos(groups: Sequence[TokenGroup], encoder: Encoder) -> list[Finding]:
    if not any(group.k for group in groups):
        return []
    missing = doubled = total = 0
    for group in groups:
        for response, mask in zip(group.responses, group.masks, strict=True):
            turns = sum(trained for trained, _ in groupby(mask))
            ends = sum(m and t in encoder.eos_ids for t, m in zip(response, mask, strict=True))
            total += 1
            missing += ends < max(1, turns)
            doubled += ends > turns
    if doubled:
        return [
            problem(
                f"EOS: {doubled:,} of {counted(total, 'response')} have more than one per turn",
                "remove the end-of-sequence text from the responses; it is added",
            )
        ]
    if missing == total:
        return [
            warning(
                "EOS: no response ends with one, so nothing teaches the model to stop",
                "sample with a larger sampling.max_tokens",
            )
        ]
    cut = f"; {missing:,} were cut off and have none" if missing else ""
    return [ok(f"EOS: exactly one at the end of every trained turn{cut}")]


def _pad(encoder: Encoder) -> Finding:
    pad = special_ids(encoder.tokenizer).pad
    if pad is None or pad in encoder.eos_ids:
        state = "has no padding token" if pad is None else "pads with EOS"
        return ok(
            f"padding: the tokenizer {state}, which is safe here: masks come from lengths, never "
            "from ids, so EOS is trained"
        )
    return ok("padding: has an id of its own; masks come from lengths all the same")


def example(group: TokenGroup, tokenizer: PreTrainedTokenizerBase, *, use: str) -> Text:
    """A group's prompt and first response, token by token: those that count are green."""
    lines = [_run("prompt", group.prompt, PROMPT, tokenizer)]
    if not group.responses:
        lines.append(Text("response: still to be written", style=TRAINED))
    for response, mask in zip(group.responses[:1], group.masks[:1], strict=True):
        marked = groupby(zip(response, mask, strict=True), key=lambda pair: pair[1])
        for trained, pairs in marked:
            name, style = (use, TRAINED) if trained else ("not trained", UNTRAINED)
            lines.append(_run(name, [token for token, _ in pairs], style, tokenizer))
    return Text("\n").join(lines)


def _run(name: str, ids: Sequence[int], style: str, tokenizer: PreTrainedTokenizerBase) -> Text:
    line = Text(f"{name} ({counted(len(ids), 'token')}): ", style="bold")
    shown = list(ids) if len(ids) <= _SHOWN else [*ids[: _SHOWN // 2], *ids[-_SHOWN // 2 :]]
    halves = [shown] if len(shown) == len(ids) else [shown[: _SHOWN // 2], shown[_SHOWN // 2 :]]
    parts = [[Text(p, style=style) for p in readable(half, tokenizer)] for half in halves]
    more = [[Text(f" ... {len(ids) - _SHOWN} more ... ", style="italic")]] * (len(halves) - 1)
    pieces = [piece for part in (*parts[:1], *more, *parts[1:]) for piece in part]
    return line + Text("|", style="dim").join(pieces)


def readable(ids: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Tokens as text; those that are parts of one character stand together."""
    pieces: list[str] = []
    held: list[int] = []
    for id in ids:
        held.append(id)
        text = str(tokenizer.decode(held))
        if not text.endswith("\ufffd") or len(held) == _LONGEST_CHARACTER:
            pieces.append(_printable(text))
            held = []
    return [*pieces, _printable(str(tokenizer.decode(held)))] if held else pieces


def _printable(token: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in token)
