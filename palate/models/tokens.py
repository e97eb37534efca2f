"""Between text and token ids: prompts, responses, groups, demonstrations and documents.

Sampled ids are never decoded and encoded again on their way to training. Where text has to become
ids, prompt and response are rendered together and split where the prompt ends; that the text is
still in those ids is proved for every response.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal, cast

from transformers import PreTrainedTokenizerBase

from palate.batches.groups import TokenGroup, token_group
from palate.config.common import PromptConfig
from palate.interfaces import Rollout, TokenPrompt
from palate.models.templates import ChatTemplate, Unfit
from palate.records import Demonstration, Group, Message, Prompt, Response, Sampling, content_id


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecialIds:
    """The ids of a tokenizer's special tokens; None where it has no such token."""

    bos: int | None
    eos: int | None
    pad: int | None


def special_ids(tokenizer: PreTrainedTokenizerBase) -> SpecialIds:
    """A tokenizer's special ids, typed."""
    tokens = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    bos, eos, pad = (cast("int | None", token) for token in tokens)
    return SpecialIds(bos=bos, eos=eos, pad=pad)


class TooLong(Unfit):
    """A row that is longer than it may be."""

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"too long: {problem}", "raise the limit, shorten the row, or set prompt.over_long=skip"
        )


class Encoder:
    """A tokenizer and the way prompts are written: everything that turns text into ids and back.

    `eos_ids` are the ids that end a response: the tokenizer's EOS, the ids given by the caller (a
    generation config lists several for some models), and for chat prompts the token with which
    the template closes an assistant turn. `pad_id` may be one of them, since masks come from
    lengths. `context` is the model's longest sequence in tokens (None: no limit).

    Counters tell what could not be taken literally: `boundary_merges`, responses whose first
    characters would have merged with the prompt and were tokenized alone; `rendered_otherwise`,
    those that the chat template leaves out or writes after another header than its generation
    prompt, tokenized alone too; `changed_texts`, those with characters that the tokenizer does not
    have; and `foreign_responses`, stored ids of another tokenizer, replaced by tokenizing their
    text.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        config: PromptConfig,
        *,
        eos_ids: Iterable[int] = (),
        context: int | None = None,
    ) -> None:
        if config.format == "chat" and tokenizer.chat_template is None:
            raise ValueError(
                "the tokenizer has no chat template: set prompt.format=raw, or give the tokenizer "
                "a chat_template"
            )
        self.tokenizer, self.config, self.context = tokenizer, config, context
        ids = special_ids(tokenizer)
        self._bos_id = ids.bos
        # Some templates leave BOS to the tokenizer.
        self._adds_bos = tokenizer("")["input_ids"][:1] == [ids.bos]
        self.boundary_merges = self.rendered_otherwise = 0
        self.changed_texts = self.foreign_responses = 0
        self._special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
        # Configurations declare an EOS by default, which then is some word of the tokenizer's.
        known = {i for i in eos_ids if ids.eos is not None or i in self._special}
        known |= {ids.eos} if ids.eos is not None else set()
        self.template: ChatTemplate | None = None
        self._header: tuple[int, ...] = ()
        if config.format == "chat":
            self.template = ChatTemplate(tokenizer, date.fromisoformat(config.date))
            known = self._ends(known, self.template)
        self.eos_ids = frozenset(known)
        if not self.eos_ids:
            raise ValueError(
                "the tokenizer has no end-of-sequence token, so no response could end: "
                "set eos_token in its tokenizer_config.json"
            )
        self._eos_id = ids.eos if ids.eos in self.eos_ids else min(self.eos_ids)
        self.pad_id = self._eos_id if ids.pad is None else ids.pad

    def encode_prompt(self, prompt: Prompt) -> TokenPrompt:
        """The prompt's ids up to where the response starts; BOS comes first, exactly once."""
        return TokenPrompt(id=prompt.id, ids=self._prompt_ids(prompt))

    def encode_response(self, prompt: Prompt, text: str, *, finished: bool) -> tuple[int, ...]:
        """A response text's ids after its prompt, with exactly one EOS if finished, else none."""
        return self._response_ids(prompt, self._prompt_ids(prompt), text, finished)

    def encode_group(self, group: Group) -> TokenGroup:
        """A group as ids: the sampled ids where the responses have them, else their text."""
        start = self._prompt_ids(group.prompt)
        responses = tuple(self._stored_ids(group.prompt, start, r) for r in group.responses)
        return token_group(group.prompt.id, start, responses)

    def encode_demonstration(
        self, demonstration: Demonstration, *, train_on: Literal["last", "all"]
    ) -> TokenGroup:
        """A demonstration as a group of one.

        With `all`, the prompt ends where the first assistant turn begins, the response runs to the
        end, and the mask is True on assistant turns and their EOS. A conversation's opening turn is
        never trained, because there is no prompt to write it for.
        """
        if train_on == "all":
            return self._all_turns(demonstration)
        prompt = demonstration.prompt
        start = self._prompt_ids(prompt)
        response = self._response_ids(prompt, start, demonstration.response, True)
        return token_group(prompt.id, start, (response,))

    def encode_text(self, text: str) -> TokenGroup:
        """A document to pretrain on: BOS (or EOS) is the prompt, the text and EOS the response."""
        first = self._eos_id if self._bos_id is None else self._bos_id
        body = (*self._plain(text), self._eos_id)
        return token_group(content_id(text), (first,), (body,))

    def decode(self, ids: Sequence[int]) -> str:
        """The text of a response up to its first EOS, without special tokens and the header that
        the chat template begins answers with."""
        end, start = self._end(ids), len(self._header)
        return self._text(ids[:end] if tuple(ids[:start]) != self._header else ids[start:end])

    def response(self, rollout: Rollout, *, policy: str, sampling: Sampling) -> Response:
        """A rollout as a record: its text beside the very ids that were sampled."""
        return Response(
            text=self.decode(rollout.tokens),
            token_ids=rollout.tokens,
            finish="stop" if rollout.finished else "length",
            policy=policy,
            sampling=sampling,
        )

    def admits_prompt(self, prompt: TokenPrompt, *, max_response_tokens: int) -> bool:
        """Whether a prompt is short enough and leaves room in the context for a response.

        With `prompt.over_long=error` a longer one raises; with `skip` the caller filters by the
        answer, `[p for p in prompts if encoder.admits_prompt(p, ...)]`, and can count what it left.
        """
        return self._admits(len(prompt.ids), (), max_response_tokens)

    def admits(self, group: TokenGroup, *, max_response_tokens: int) -> bool:
        """Whether the prompt and every response of a group are short enough; else as a prompt's.

        Nothing is ever truncated, and one long response drops its whole group, so that a chosen
        text never stays without its rejected one.
        """
        lengths = tuple(map(len, group.responses))
        return self._admits(len(group.prompt), lengths, max_response_tokens)

    def _admits(self, prompt: int, responses: tuple[int, ...], max_response: int) -> bool:
        longest, limit = max(responses, default=0), self.config.max_tokens
        total = prompt + (longest if responses else max_response)
        problems: list[str] = []
        if prompt > limit:
            problems.append(f"the prompt has {prompt} tokens, prompt.max_tokens={limit}")
        if longest > max_response:
            problems.append(f"a response has {longest} tokens, the longest allowed {max_response}")
        if self.context is not None and total > self.context:
            problems.append(f"both together {total} tokens, the model's context {self.context}")
        if problems and self.config.over_long == "error":
            raise TooLong("; ".join(problems))
        return not problems

    def _prompt_ids(self, prompt: Prompt) -> tuple[int, ...]:
        if self.template:
            if prompt.token_ids:
                raise ValueError("a prompt of token_ids has no turns to render: prompt.format=raw")
            return self._chat(prompt.messages, "open")
        if prompt.token_ids:
            return prompt.token_ids
        return self._with_bos(self._plain(prompt.text))

    def _response_ids(
        self, prompt: Prompt, start: tuple[int, ...], text: str, finished: bool
    ) -> tuple[int, ...]:
        """What follows the prompt in a rendering of both, if that is the text; else it alone."""
        written = self.template.after_prompt(text) if self.template else text
        if not prompt.token_ids:
            whole = self._whole(prompt, text)
            begins = whole[: len(start)] == start
            response = self._ended(whole[len(start) :], finished)
            if begins and self._holds(response, written):
                return response
            if begins or (self.template and self.template.departs):
                self.rendered_otherwise += 1
            else:
                self.boundary_merges += 1
        return self._alone(written, finished)

    def _whole(self, prompt: Prompt, text: str) -> tuple[int, ...]:
        if self.template:
            return self._chat((*prompt.messages, Message(role="assistant", content=text)), "closed")
        return self._with_bos(self._plain(prompt.text + text))

    def _stored_ids(
        self, prompt: Prompt, start: tuple[int, ...], response: Response
    ) -> tuple[int, ...]:
        if response.token_ids:
            if self.decode(response.token_ids) == response.text:
                return response.token_ids
            self.foreign_responses += 1
        return self._response_ids(prompt, start, response.text, response.finish == "stop")

    def _holds(self, ids: tuple[int, ...], text: str) -> bool:
        """Whether a text can be read from a response's ids, as far as the tokenizer can write it;
        whitespace aside, since templates trim."""
        read = _squeezed(self.decode(ids))
        if _squeezed(text) in read:
            return True
        alone = _squeezed(self._text(self._content(text)))
        if alone != _squeezed(text) and alone in read:
            self.changed_texts += 1
            return True
        # Raw text may hold special tokens.
        return self.template is None and _squeezed(self._text(self._plain(text))) == read

    def _alone(self, text: str, finished: bool) -> tuple[int, ...]:
        """A response tokenized without its prompt."""
        ids = self._ended(self._content(text), finished)
        if not self._holds(ids, text):
            raise Unfit(
                f"of the response {text[:60]!r} only {self.decode(ids)[:60]!r} would be trained",
                "use a tokenizer and a chat template that keep the text of answers",
            )
        return ids

    def _all_turns(self, demonstration: Demonstration) -> TokenGroup:
        if self.template is None:
            raise ValueError("train_on=all needs turns, and prompt.format=raw has none: use `last`")
        messages = demonstration.messages
        whole = self._chat(messages, "closed")
        mask = [False] * len(whole)
        start = end = 0
        for index in range(1, len(messages)):
            if messages[index].role != "assistant":
                continue
            opened = self._chat(messages[:index], "open")
            closed = self._chat(messages[: index + 1], "closed")
            end = len(opened) + self._end(closed[len(opened) :]) + 1
            if whole[: len(opened)] != opened or whole[:end] != closed[:end] or end > len(closed):
                raise Unfit(
                    f"the chat template rewrites turn {index} when later turns follow, or does not "
                    "close it with an EOS token, so train_on=all has no ids to train on",
                    "use train_on=last",
                )
            written = self.template.after_prompt(messages[index].content)
            if not self._holds(closed[len(opened) : end], written):
                raise Unfit(
                    f"the chat template leaves out text of turn {index}, which train_on=all trains",
                    "use train_on=last, or another chat template",
                )
            mask[len(opened) : end] = [True] * (end - len(opened))
            start = start or len(opened)
        return TokenGroup(
            id=demonstration.prompt.id,
            prompt=whole[:start],
            responses=(whole[start:end],),
            masks=(tuple(mask[start:end]),),
        )

    def _chat(
        self, messages: Sequence[Message], ending: Literal["open", "closed"]
    ) -> tuple[int, ...]:
        """The rendered turns, `open` for the assistant to write the next one, or `closed`."""
        assert self.template is not None
        turns = self.template.ids(messages, ending)
        return self._with_bos(turns) if self._adds_bos else turns

    def _with_bos(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        bos = self._bos_id
        return ids if bos is None or ids[:1] == (bos,) else (bos, *ids)

    def _plain(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _text(self, ids: Sequence[int]) -> str:
        text = self.tokenizer.decode(
            list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return cast("str", text)

    def _content(self, text: str) -> tuple[int, ...]:
        ids = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return tuple(ids)

    def _end(self, ids: Sequence[int]) -> int:
        """The index of the first EOS, or the length."""
        return next((t for t, token in enumerate(ids) if token in self.eos_ids), len(ids))

    def _ended(self, ids: tuple[int, ...], finished: bool) -> tuple[int, ...]:
        end = self._end(ids)
        if not finished:
            return ids[:end]
        return ids[: end + 1] if end < len(ids) else (*ids, self._eos_id)

    def _ends(self, known: set[int], template: ChatTemplate) -> set[int]:
        """The ids that end an answer: those known, but for what stands before an answer's text, and
        the first special token that the template writes only after it."""
        before = [t for t in self._plain(template.opening) if t in self._special]
        after = [t for t in self._plain(template.closing) if t in self._special]
        own = [t for t in after if t not in before]
        ends = (known - set(before)) | set(own[:1])
        if before and not ends:
            raise ValueError(
                f"the chat template writes {template.opening!r} before the text of an answer and "
                f"{template.closing!r} after it, and no token that ends answers alone: give the "
                "tokenizer a chat_template that closes answers with a special token of its own"
            )
        header = self._plain(template.opening)
        last = max((i for i, t in enumerate(header) if t in self._special), default=-1)
        self._header = header[: last + 1]
        return ends


def _squeezed(text: str) -> str:
    return "".join(text.split())
