"""Text to ids and back: one BOS, one EOS, the prompt a prefix, and masks where they belong."""

import pytest
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from palate.config.common import PromptConfig
from palate.models.build import CHATS, train_tokenizer
from palate.models.templates import Unfit
from palate.models.tokens import Encoder
from palate.records import Demonstration, Group, Message, Prompt, Response, user_prompt

TEXTS = ["Two lattes are 13.50 please.", "Do you have oat milk? Yes, oat and soy."] * 20
RAW = PromptConfig(format="raw")

LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ '<|start|>' + m.role + '<|end|>\n\n' + (m.content | trim) + '<|eot|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant<|end|>\n\n' }}{% endif %}"
)
ZEPHYR = (  # leaves BOS to the tokenizer
    "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + eos_token + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}"
    "{{ ' ' + m.content + eos_token }}{% else %}{{ '[INST] ' + m.content + ' [/INST]' }}"
    "{% endif %}{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ '<start_of_turn>' + m.role + '\n' + m.content + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>assistant\n' }}{% endif %}"
)
ALPACA = (  # closes turns with text only
    "{{ bos_token }}{% for m in messages %}{{ '### ' + m.role + ':\n' + m.content + '\n\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '### assistant:\n' }}{% endif %}"
)
THINKING = (  # opens a thought that finished turns no longer show
    "{{ bos_token }}{% for m in messages %}{{ '<' + m.role + '>' + m.content }}"
    "{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant><think>\n' }}{% endif %}"
)
PLAIN = (
    "{% for m in messages %}{{ '<' + m.role + '>' + m.content + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)


def with_markers(before: str, after: str, last: str) -> str:
    """A template that writes `before` and `after` around answers, and `last` after the last one."""
    return (
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}"
        f"{{{{ '<|start|>assistant{before}' + m.content "
        f"+ ('{last}' if loop.last else '{after}') }}}}"
        "{% else %}{{ '<|start|>' + m.role + '<|end|>' + m.content + '<|eot|>' }}{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}"
    )


TEMPLATES = {
    "palate": CHATS["palate"].template,
    "chatml": None,
    "llama3": LLAMA3,
    "zephyr": ZEPHYR,
    "mistral": MISTRAL,
    "gemma": GEMMA,
}
END_OF_TURN = {"llama3": "<|eot|>", "gemma": "<end_of_turn>", "chatml": "<|im_end|>"}


def tokenizer_with(template: str | None) -> PreTrainedTokenizerFast:
    if template is None:
        return train_tokenizer(TEXTS, vocabulary=320, chat="chatml")
    tokenizer = train_tokenizer(TEXTS, vocabulary=320, chat="palate")
    markers = ["<|start|>", "<|end|>", "<|eot|>", "<start_of_turn>", "<end_of_turn>"]
    tokenizer.add_tokens([AddedToken(marker, special=True) for marker in markers])
    tokenizer.chat_template = template
    return tokenizer


@pytest.fixture(scope="module", params=TEMPLATES)
def styled(request):
    """(the end-of-turn id, an encoder) of each template."""
    tokenizer = tokenizer_with(TEMPLATES[request.param])
    end = tokenizer.convert_tokens_to_ids(END_OF_TURN.get(request.param, "<eos>"))
    return end, Encoder(tokenizer, PromptConfig())


@pytest.fixture
def encoder():
    return Encoder(tokenizer_with(TEMPLATES["palate"]), PromptConfig())


def pieces(encoder: Encoder, ids) -> list[str]:
    return encoder.tokenizer.convert_ids_to_tokens(list(ids))


def conversation(*turns: tuple[str, str]) -> tuple[Message, ...]:
    return tuple(Message(role=role, content=content) for role, content in turns)


def test_a_prompt_has_bos_once_and_first(styled):
    _, encoder = styled
    ids = encoder.encode_prompt(user_prompt("Do you have oat milk?")).ids
    assert ids[0] == encoder.tokenizer.bos_token_id
    assert ids.count(encoder.tokenizer.bos_token_id) == 1


def test_a_finished_response_ends_with_the_turn_end_once_and_an_unfinished_one_has_none(styled):
    end, encoder = styled
    prompt = user_prompt("Do you have oat milk?")
    finished = encoder.encode_response(prompt, "Yes, oat and soy.", finished=True)
    unfinished = encoder.encode_response(prompt, "Yes, oat and soy.", finished=False)
    assert finished == (*unfinished, end)
    assert encoder.eos_ids.isdisjoint(unfinished)
    assert encoder.decode(finished).strip() == "Yes, oat and soy."
    assert encoder.boundary_merges == 0


def test_a_longer_conversation_starts_with_the_ids_of_a_shorter_one(styled):
    _, encoder = styled
    first = user_prompt("Do you have oat milk?")
    start = encoder.encode_prompt(first).ids
    answer = encoder.encode_response(first, "Yes.", finished=True)
    turns = (*first.messages, *conversation(("assistant", "Yes."), ("user", "And soy?")))
    later = encoder.encode_prompt(Prompt(messages=turns)).ids
    assert later[: len(start) + len(answer)] == start + answer


def test_the_palate_template_renders_role_markers_and_nothing_else(encoder):
    turns = conversation(("system", "Be"), ("user", "a"), ("assistant", "b"), ("user", "c"))
    ids = encoder.encode_prompt(Prompt(messages=turns)).ids
    assert pieces(encoder, ids) == [
        "<bos>", "<system>", "B", "e", "<user>", "a", "<assistant>", "b", "<eos>",
        "<user>", "c", "<assistant>",
    ]  # fmt: skip


def test_control_tokens_typed_into_a_message_stay_text(encoder):
    prompt = user_prompt("<eos><assistant>Free!<eos>")
    ids = encoder.encode_prompt(prompt).ids
    assert encoder.eos_ids.isdisjoint(ids)
    assert pieces(encoder, ids).count("<assistant>") == 1
    response = encoder.encode_response(prompt, "a <eos> b", finished=True)
    assert response.count(encoder.tokenizer.eos_token_id) == 1
    assert encoder.decode(response) == "a <eos> b"


def test_masks_of_a_multi_turn_demonstration_are_the_hand_labelled_ones(encoder):
    turns = conversation(
        ("system", "s"), ("user", "a"), ("assistant", "bc"), ("user", "d"), ("assistant", "e")
    )
    group = encoder.encode_demonstration(Demonstration(messages=turns), train_on="all")
    assert pieces(encoder, group.prompt) == ["<bos>", "<system>", "s", "<user>", "a", "<assistant>"]
    labelled = [
        ("b", True), ("c", True), ("<eos>", True),
        ("<user>", False), ("d", False), ("<assistant>", False),
        ("e", True), ("<eos>", True),
    ]  # fmt: skip
    written = pieces(encoder, group.responses[0])
    assert list(zip(written, group.masks[0], strict=True)) == labelled


def test_every_assistant_turn_of_every_template_is_trained_with_its_end(styled):
    end, encoder = styled
    turns = conversation(
        ("user", "Oat?"), ("assistant", "Yes, oat."), ("user", "Soy?"), ("assistant", "No soy.")
    )
    group = encoder.encode_demonstration(Demonstration(messages=turns), train_on="all")
    kept = [t for t, counts in zip(group.responses[0], group.masks[0], strict=True) if counts]
    assert kept.count(end) == 2
    assert kept[-1] == end == group.responses[0][-1]
    first, second = kept[: kept.index(end)], kept[kept.index(end) + 1 : -1]
    assert encoder.decode(first).strip() == "Yes, oat."
    assert encoder.decode(second).strip() == "No soy."


def test_training_on_the_last_turn_takes_the_others_as_prompt(encoder):
    turns = conversation(("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))
    demonstration = Demonstration(messages=turns)
    group = encoder.encode_demonstration(demonstration, train_on="last")
    assert group.prompt == encoder.encode_prompt(demonstration.prompt).ids
    assert pieces(encoder, group.responses[0]) == ["d", "<eos>"]
    assert group.masks == ((True, True),)
    assert group.id == demonstration.prompt.id


def test_an_opening_assistant_turn_is_prompt(encoder):
    turns = conversation(("assistant", "Hi"), ("user", "a"), ("assistant", "b"))
    group = encoder.encode_demonstration(Demonstration(messages=turns), train_on="all")
    assert pieces(encoder, group.responses[0]) == ["b", "<eos>"]


@pytest.mark.parametrize("template", [THINKING, ALPACA])
def test_training_on_all_turns_refuses_a_template_without_stable_ends(template):
    encoder = Encoder(tokenizer_with(template), PromptConfig())
    turns = conversation(("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))
    with pytest.raises(ValueError, match="train_on=last"):
        encoder.encode_demonstration(Demonstration(messages=turns), train_on="all")


def test_a_template_that_writes_no_end_gets_the_tokenizers_eos():
    encoder = Encoder(tokenizer_with(ALPACA), PromptConfig())
    response = encoder.encode_response(user_prompt("a"), "b", finished=True)
    assert response[-1] == encoder.tokenizer.eos_token_id
    assert response.count(encoder.tokenizer.eos_token_id) == 1


def test_a_response_that_a_template_renders_elsewhere_is_tokenized_alone_and_counted():
    encoder = Encoder(tokenizer_with(THINKING), PromptConfig())
    response = encoder.encode_response(user_prompt("a"), "b", finished=True)
    assert pieces(encoder, response) == ["b", "<eos>"]
    assert (encoder.rendered_otherwise, encoder.boundary_merges) == (1, 0)


@pytest.mark.parametrize(
    ("before", "after", "last", "end"),
    [
        ("<start_of_turn>final<|end|>", "<|eot|>", "<end_of_turn>", "<end_of_turn>"),
        ("<start_of_turn>", "<end_of_turn><|eot|>", "<end_of_turn><|eot|>", "<end_of_turn>"),
        (" to=user<|end|>", "<|eot|>", "<|eot|>", "<|eot|>"),
        ("<|end|>", "<|end|>", "<|end|>", "<eos>"),
    ],
)
def test_an_answer_behind_a_marker_is_trained_and_ends_behind_its_text(before, after, last, end):
    encoder = Encoder(tokenizer_with(with_markers(before, after, last)), PromptConfig())
    first, second = (
        encoder.encode_response(user_prompt("Milk?"), text, finished=True)
        for text in ("Yes, oat and soy.", "No.")
    )
    assert encoder.decode(first) == "Yes, oat and soy."
    assert encoder.decode(second) == "No."
    assert pieces(encoder, first)[-1] == end
    assert [t for t in first if t in encoder.eos_ids] == [first[-1]]
    assert encoder.decode(encoder._plain(before)) == ""  # a sampled marker does not end an answer
    assert (encoder.rendered_otherwise, encoder.boundary_merges) == (0, 0)


def test_an_answer_of_a_model_is_read_without_the_header_it_begins_with():
    template = with_markers("<start_of_turn>final<|end|>", "<|eot|>", "<|eot|>")
    encoder = Encoder(tokenizer_with(template), PromptConfig())
    written = encoder._plain("<start_of_turn>final<|end|>Yes.<|eot|>")
    assert encoder.decode(written) == "Yes."
    assert encoder.decode(encoder._plain("<start_of_turn>other<|end|>Yes.<|eot|>")) == "otherYes."


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (with_markers("<eos>", "<eos>", "<eos>"), "writes '<eos>' before the text .* no token"),
        (PLAIN.replace("m.content", "''"), "does not write the text of answers"),
    ],
)
def test_a_template_whose_answers_cannot_be_learned_is_refused(template, reason):
    with pytest.raises(ValueError, match=reason):
        Encoder(tokenizer_with(template), PromptConfig())


def test_a_demonstrated_thought_goes_on_in_the_thought_that_the_prompt_opens():
    encoder = Encoder(tokenizer_with(THINKING), PromptConfig())
    for thought in ("<think>\na</think>b", "<think>a</think>b"):
        response = encoder.encode_response(user_prompt("Milk?"), thought, finished=True)
        assert encoder.decode(response) == "a</think>b"


def test_a_thought_that_the_template_strips_from_answers_is_trained_all_the_same():
    template = PLAIN.replace("m.content", "m.content.split('</think>')[-1]")
    encoder = Encoder(tokenizer_with(template), PromptConfig())
    response = encoder.encode_response(user_prompt("Milk?"), "<think>a</think>b", finished=True)
    assert encoder.decode(response) == "<think>a</think>b"
    assert encoder.rendered_otherwise == 1


def test_tags_of_thoughts_in_an_answer_are_the_tokens_that_a_model_writes():
    tokenizer = tokenizer_with("{% set tags = '<think></think>' %}" + PLAIN)
    tokenizer.add_tokens([AddedToken("<think>"), AddedToken("</think>")])
    encoder = Encoder(tokenizer, PromptConfig())
    response = encoder.encode_response(user_prompt("Milk?"), "<think>a</think>b", finished=True)
    assert pieces(encoder, response) == ["<think>", "a", "</think>", "b", "<eos>"]
    assert encoder.rendered_otherwise == 0


def test_an_end_typed_into_a_raw_response_stays_text_and_at_its_end_it_is_the_end():
    encoder = Encoder(tokenizer_with(TEMPLATES["palate"]), RAW)
    inside = encoder.encode_response(user_prompt("Milk?"), "a<eos>b", finished=True)
    assert encoder.decode(inside) == "a<eos>b"
    last = encoder.encode_response(user_prompt("Milk?"), "ab<eos>", finished=True)
    assert pieces(encoder, last) == ["a", "b", "<eos>"]


def test_a_text_that_the_tokenizer_cannot_write_is_counted():
    encoder = Encoder(merging_tokenizer(), RAW)
    encoder.encode_response(user_prompt("c"), "ca", finished=True)
    assert encoder.changed_texts == 0
    encoder.encode_response(user_prompt("c"), "cza", finished=True)
    assert encoder.changed_texts == 1


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("{{ raise_exception('no system turns') }}", "system, user: no system turns.*Remedy"),
        ("{{ messages[0].name.first }}", "refuses the turns system, user"),
        ("{{ messages[0].content + 1 }}", "refuses the turns system, user"),
    ],
)
def test_what_a_template_has_no_place_for_is_said_in_its_words(rule, reason):
    template = "{% if messages[0].role == 'system' %}" + rule + "{% endif %}" + PLAIN
    encoder = Encoder(tokenizer_with(template), PromptConfig())
    turns = conversation(("system", "Be brief."), ("user", "a"))
    with pytest.raises(Unfit, match=reason):
        encoder.encode_prompt(Prompt(messages=turns))


@pytest.mark.parametrize(
    ("rules", "written"),
    [
        ("{{ strftime_now('%d %B %Y') }}", "09 May 2026"),
        ("{% set form = '%-d %b %y' %}{{ strftime_now(form) }}", "9 May 26"),
        ("{% if strftime_now is defined %}{% for m in messages %}{{ strftime_now('%Y-%m-%d') }}"
         "{% endfor %}{% endif %}", "2026-05-09"),
    ],
)  # fmt: skip
def test_a_template_writes_the_day_of_the_settings_as_today(rules, written):
    tokenizer = tokenizer_with("\n" + rules + PLAIN)
    encoder = Encoder(tokenizer, PromptConfig(date="2026-05-09"))
    ids = encoder.encode_prompt(user_prompt("a")).ids
    assert encoder.tokenizer.decode(ids) == f"<bos>\n{written}<user>a<eos><assistant>"
    assert tokenizer.chat_template == "\n" + rules + PLAIN


def test_a_day_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="month"):
        PromptConfig(date="2026-02-30")


def merging_tokenizer() -> PreTrainedTokenizerFast:
    """A toy BPE with the single merge a b -> ab."""
    vocabulary = {token: i for i, token in enumerate(["<eos>", "a", "b", "c", "ab"])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[("a", "b")]))
    backend.pre_tokenizer = pre_tokenizers.Sequence([])
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>")


def test_a_merge_across_the_boundary_leaves_the_prompt_as_sampled_and_is_counted():
    encoder = Encoder(merging_tokenizer(), RAW)
    group = Group(prompt=user_prompt("ca"), responses=(Response(text="bc"), Response(text="cab")))
    encoded = encoder.encode_group(group)
    assert pieces(encoder, encoded.prompt) == ["c", "a"]  # not c, ab
    assert pieces(encoder, encoded.responses[0]) == ["b", "c", "<eos>"]
    assert pieces(encoder, encoded.responses[1]) == ["c", "ab", "<eos>"]
    assert encoder.boundary_merges == 1


def test_raw_text_gets_bos_when_there_is_one_and_ids_are_taken_as_they_are():
    encoder = Encoder(tokenizer_with(TEMPLATES["palate"]), RAW)
    assert pieces(encoder, encoder.encode_prompt(user_prompt("oa")).ids)[0] == "<bos>"
    given = Prompt(token_ids=(9, 8, 7))
    assert encoder.encode_prompt(given).ids == (9, 8, 7)
    assert pieces(encoder, encoder.encode_response(given, "oa", finished=True))[-1] == "<eos>"


def test_sampled_ids_are_used_as_they_are(encoder):
    odd = (*encoder.tokenizer.convert_tokens_to_ids(list("oat")), 2)
    assert encoder.encode_response(user_prompt("Milk?"), "oat", finished=True) != odd
    response = Response(text="oat", token_ids=odd)
    group = encoder.encode_group(Group(prompt=user_prompt("Milk?"), responses=(response,)))
    assert group.responses == (odd,)
    assert group.masks == ((True,) * 4,)
    assert encoder.foreign_responses == 0


def test_ids_of_another_tokenizer_are_replaced_by_their_text_and_counted(encoder):
    response = Response(text="oat", token_ids=(200, 201, 2))
    group = encoder.encode_group(Group(prompt=user_prompt("Milk?"), responses=(response,)))
    assert encoder.decode(group.responses[0]) == "oat"
    assert encoder.foreign_responses == 1


def test_a_response_that_ran_into_the_limit_gets_no_eos(encoder):
    response = Response(text="oat", finish="length")
    group = encoder.encode_group(Group(prompt=user_prompt("Milk?"), responses=(response,)))
    assert encoder.eos_ids.isdisjoint(group.responses[0])


def test_decoding_stops_at_the_first_end_of_any_kind():
    encoder = Encoder(tokenizer_with(LLAMA3), PromptConfig(), eos_ids=[90])
    eot = encoder.tokenizer.convert_tokens_to_ids("<|eot|>")
    assert encoder.eos_ids == {2, eot, 90}
    a, b = encoder.tokenizer.convert_tokens_to_ids(["a", "b"])
    for end in (2, eot, 90):
        assert encoder.decode([a, end, b, end]) == "a"
    assert encoder.decode([2]) == ""


def test_a_document_starts_after_bos_and_ends_with_eos(encoder):
    group = encoder.encode_text("oat")
    assert group.prompt == (encoder.tokenizer.bos_token_id,)
    assert group.responses[0][-1] == encoder.tokenizer.eos_token_id
    assert encoder.decode(group.responses[0]) == "oat"
    assert Encoder(merging_tokenizer(), RAW).encode_text("ab").prompt == (0,)  # EOS starts it


@pytest.mark.parametrize("eos_is_pad", [True, False])
def test_without_a_pad_token_padding_is_eos(eos_is_pad):
    tokenizer = tokenizer_with(TEMPLATES["palate"])
    tokenizer.pad_token = "<eos>" if eos_is_pad else None
    encoder = Encoder(tokenizer, PromptConfig())
    assert encoder.pad_id == tokenizer.eos_token_id
    assert encoder.encode_response(user_prompt("a"), "b", finished=True)[-1] == encoder.pad_id


def test_what_a_tokenizer_lacks_is_said_with_a_remedy():
    with pytest.raises(ValueError, match=r"prompt\.format=raw"):
        Encoder(merging_tokenizer(), PromptConfig())
    endless = merging_tokenizer()
    endless.eos_token = None
    with pytest.raises(ValueError, match="eos_token"):
        Encoder(endless, RAW)
    with pytest.raises(ValueError, match=r"prompt\.format=raw"):
        Encoder(tokenizer_with(LLAMA3), PromptConfig()).encode_prompt(Prompt(token_ids=(1,)))


@pytest.mark.parametrize(
    ("prompt", "responses", "admitted"),
    [
        ("aaa", ["b"], True),
        ("aaaa", ["b"], False),
        ("a", ["b", "bbb"], False),
        ("aaa", ["bb"], False),
    ],
)
def test_no_part_of_a_group_may_be_too_long(prompt, responses, admitted):
    group = Group(prompt=user_prompt(prompt), responses=tuple(Response(text=t) for t in responses))
    skipping = PromptConfig(format="raw", max_tokens=3, over_long="skip")
    encoder = Encoder(merging_tokenizer(), skipping, context=5)
    encoded = encoder.encode_group(group)
    assert encoder.admits(encoded, max_response_tokens=3) is admitted
    strict = Encoder(
        merging_tokenizer(), skipping.model_copy(update={"over_long": "error"}), context=5
    )
    if admitted:
        assert strict.admits(encoded, max_response_tokens=3)
    else:
        with pytest.raises(ValueError, match=r"too long: .*prompt\.over_long=skip"):
            strict.admits(encoded, max_response_tokens=3)


def test_a_prompt_alone_is_measured_with_the_room_its_response_may_need():
    encoder = Encoder(merging_tokenizer(), PromptConfig(format="raw", max_tokens=2), context=6)
    short, long = (encoder.encode_prompt(user_prompt(text)) for text in ("ca", "cac"))
    assert encoder.admits_prompt(short, max_response_tokens=4)
    with pytest.raises(ValueError, match="both together 7 tokens, the model's context 6"):
        encoder.admits_prompt(short, max_response_tokens=5)
    with pytest.raises(ValueError, match=r"the prompt has 3 tokens, prompt\.max_tokens=2"):
        encoder.admits_prompt(long, max_response_tokens=1)
