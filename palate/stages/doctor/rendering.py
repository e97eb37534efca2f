"""What the model will see: one example token by token, and the usual traps counted over many."""

from collections.abc import Sequence
from itertools import groupby

from rich.text import Text
from transformers import PreTrainedTokenizerBase

from palate.batches.groups import TokenGroup
from palate.config.common import PromptConfig
from palate.models.tokens import Encoder, special_ids
from palate.stages.doctor.blueprints import Blueprint
from palate.stages.doctor.material import Material
from palate.stages.doctor.verdicts import Exam, Finding, T, counted, ok, problem, warning

_ROWS = 2000
_SHOWN = 120

PROMPT, TRAINED, UNTRAINED = "dim", "green", "yellow"


def seen(rows: Material[T], model: Blueprint, prompt: PromptConfig) -> Exam[list[TokenGroup]]:
    """The rows as tokens: lengths, traps and one example."""
    encoder = model.encoder(prompt)
    groups = encoded(rows, encoder)
    limit = rows.max_response_tokens
    yield from lengths(groups, encoder, prompt, max_response_tokens=limit)
    yield from traps(groups, encoder)
    yield example(groups[0], model.tokenizer, use=rows.use)
    return groups


def encoded(material: Material[T], encoder: Encoder) -> list[TokenGroup]:
    """At most 2,000 rows as tokens, evenly spaced over the data."""
    stride = max(1, -(-len(material.rows) // _ROWS))
    return [material.encode(encoder, row) for row in material.rows[::stride]]


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
    """BOS and EOS counts, padding, and what could not be tokenized as it stands."""
    found = [_bos(groups, encoder), *_eos(groups, encoder), _pad(encoder)]
    yield from (finding for finding in found if finding.level != "ok")
    yield ok("; ".join(finding.text for finding in found if finding.level == "ok"))
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
    # Where BOS is also an EOS it may end earlier turns, so only the beginning counts.
    heads = [g.prompt[:2] if bos in encoder.eos_ids else g.prompt for g in groups]
    counts = {head.count(bos) for head in heads}
    if counts == {1}:
        return ok("BOS: exactly one in every prompt")
    if counts == {0}:
        return ok("BOS: none; the tokenizer has one, but neither it nor the template writes it")
    return problem(
        f"BOS: between {min(counts)} and {max(counts)} in a prompt instead of one",
        "remove BOS from the prompts' text; the template and the tokenizer add it",
    )


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
    pieces = [Text(_printable(str(tokenizer.decode([id]))), style=style) for id in shown]
    if len(shown) < len(ids):
        pieces.insert(_SHOWN // 2, Text(f" ... {len(ids) - _SHOWN} more ... ", style="italic"))
    return line + Text("|", style="dim").join(pieces)


def _printable(token: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in token)
