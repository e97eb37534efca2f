"""Which model a stage will open, known before it exists: its tokenizer and its sizes.

A stage that has not run hands on the model that it starts from; at the root is a folder, a name in
the Hub's local cache, or the architecture of a `pretrain` stage. No weights are read for that.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import accumulate, takewhile
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError
from transformers import (
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from palate.config.common import PromptConfig
from palate.config.onpolicy import OnPolicyConfig
from palate.config.stages import (
    ArchitectureConfig,
    DpoConfig,
    PretrainConfig,
    Recipe,
    RewardConfig,
    SftConfig,
)
from palate.models.build import build_causal_lm, check_backbone, configuration, train_tokenizer
from palate.models.load import (
    check_vocabulary,
    encoder_of,
    load_policy,
    placed,
    read_config,
    read_tokenizer,
    reading,
)
from palate.models.merging import base_of, fit_vocabulary, has_tokenizer
from palate.models.names import resolved
from palate.models.tokens import Encoder
from palate.stages import sources
from palate.stages.context import StageContext
from palate.stages.doctor.places import REWARD_MODEL, makes, parts_of, place_of, stage_name
from palate.stages.doctor.verdicts import Exam, counted, ok, problem, warning
from palate.stages.loads import outlined

_SAMPLE = 1_000_000  # characters of a corpus to learn a tokenizer from: half a second
_LOADED = 100_000_000  # parameters of the largest model that is worth opening for a trial

Maker = SftConfig | RewardConfig | OnPolicyConfig | DpoConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """A model to be: `outline` is the network without numbers (on the meta device).

    `source` is the folder that holds weights, or the architecture that gets random ones. `origin`
    says, for people, what stands in for a model that does not exist yet; empty when nothing does.
    """

    outline: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    source: str | ArchitectureConfig
    origin: str = ""

    def encoder(self, prompt: PromptConfig) -> Encoder:
        """The encoder that the stage will use; what is too long is counted, not refused."""
        lenient = prompt.model_copy(update={"over_long": "skip"})
        return encoder_of(self.outline, self.tokenizer, lenient)

    @property
    def architecture(self) -> str:
        """The transformers class that the weights are for."""
        return (self.outline.config.architectures or [type(self.outline).__name__])[0]

    @property
    def is_small(self) -> bool:
        """Whether opening it takes seconds."""
        return sum(p.numel() for p in self.outline.parameters()) <= _LOADED

    def open(self, device: torch.device) -> PreTrainedModel:
        """The network with its weights, or with random ones while there are none."""
        if isinstance(self.source, str):
            return load_policy(self.source, device=device).network
        return placed(build_causal_lm(self.source, self.tokenizer, seed=0), device)


class Blueprints:
    """The blueprints of a recipe, each worked out once."""

    def __init__(self, recipe: Recipe, contexts: Mapping[str, StageContext]) -> None:
        self.recipe, self.contexts = recipe, contexts
        self._known: dict[str, Blueprint | None] = {}

    def of(self, reference: str) -> Blueprint | None:
        """The blueprint of `@stage`, a folder or a Hub name; None for what has to be fetched."""
        if reference not in self._known:
            self._known[reference] = self._find(reference)
        return self._known[reference]

    def exam(self, reference: str, wanted: str) -> Exam[Blueprint | None]:
        """The blueprint behind a reference that should be a policy or a reward model."""
        if reference.startswith("@"):
            made = makes(self.recipe.stages[stage_name(reference)])
            if wanted not in made or "/" in reference:
                yield problem(
                    f"{reference}: expected a stage that makes a {wanted}, and this makes "
                    f"{', '.join(made) or 'none'}",
                    "refer to another stage, to a folder or to a Hub name",
                )
                return None
        blueprint = self.of(reference)
        if blueprint is None:
            yield warning(
                f"{reference}: will be fetched from the Hub, so its tokens and memory are unknown",
                f"fetch it first (hf download {reference}) and ask again",
            )
            return None
        scores = blueprint.architecture.endswith("ForSequenceClassification")
        if not blueprint.origin and scores != (wanted == REWARD_MODEL):
            yield problem(
                f"{reference}: expected a {wanted}, found a {blueprint.architecture}",
                "name a policy where responses are written, a reward model where they are scored",
            )
            return None
        size = counted(sum(p.numel() for p in blueprint.outline.parameters()), "parameter")
        yield ok(f"{reference}: {size}" + (blueprint.origin and f"; {blueprint.origin}"))
        return blueprint

    def _find(self, reference: str) -> Blueprint | None:
        if not reference.startswith("@"):
            return read_blueprint(reference)
        context = self.contexts[stage_name(reference)]
        if context.name in context.artifacts:
            return read_blueprint(context.model(reference))
        config = self.recipe.stages[context.name]
        if isinstance(config, PretrainConfig):
            return newborn(config, context)
        assert isinstance(config, Maker)
        start = self.of(config.model)
        return start and trained(start, config)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A stage that is going to run: its recipe, what it will find there, and the models so far.

    `responses` are demonstrations that were read on the way, to try rewards on.
    """

    recipe: Recipe
    context: StageContext
    blueprints: Blueprints
    responses: list[str]


def trained(start: Blueprint, config: Maker) -> Blueprint:
    """What a stage that has not run will make of the model that it starts from."""
    tokenizer = start.tokenizer
    if config.prompt.format == "raw" and not isinstance(config, RewardConfig):
        tokenizer = copy.deepcopy(tokenizer)
        tokenizer.chat_template = None  # as save_policy does
    origin = f"not trained yet, {config.model} stands in for it"
    return replace(start, tokenizer=tokenizer, origin=origin)


def read_blueprint(source: str) -> Blueprint | None:
    """The blueprint of what is here or in the Hub's local cache; None for what is not."""
    folder = Path(resolved(source))
    if not folder.exists():
        try:
            folder = Path(snapshot_download(source, local_files_only=True))
        except LocalEntryNotFoundError:
            return None
        if not any(folder.glob("*.safetensors")):
            return None
    name = str(folder)
    with reading(name):
        base = base_of(name)
    if base:
        start = read_blueprint(base)
        return start and _merged(start, name)
    config = read_config(name)
    with reading(name):
        outline = outlined(config)
        if (folder / "generation_config.json").is_file():
            outline.generation_config = GenerationConfig.from_pretrained(folder)
    check_backbone(outline)
    return _checked(Blueprint(outline=outline, tokenizer=read_tokenizer(name), source=name))


def _merged(base: Blueprint, source: str) -> Blueprint:
    """The blueprint of an adapter, which may bring more tokens and a tokenizer along."""
    with reading(source):
        fit_vocabulary(base.outline, source)
        tokenizer = read_tokenizer(source) if has_tokenizer(source) else base.tokenizer
    return _checked(replace(base, source=source, tokenizer=tokenizer))


def _checked(blueprint: Blueprint) -> Blueprint:
    check_vocabulary(blueprint.outline, blueprint.tokenizer, str(blueprint.source))
    return blueprint


def newborn(config: PretrainConfig, context: StageContext) -> Blueprint:
    """The blueprint of a `pretrain` stage, with a tokenizer learned from the corpus's beginning."""
    is_here = all(place_of(part, context) == "here" for part in parts_of(config.corpus))
    corpus = config.corpus if is_here else "cafe:corpus"
    documents = sources.texts(context, corpus, config.text_field)
    ends = accumulate(len(document) for document in documents)
    sample = documents[: 1 + sum(1 for _ in takewhile(lambda end: end < _SAMPLE, ends))]
    shape = config.architecture
    tokenizer = train_tokenizer(sample, vocabulary=shape.vocabulary, chat=config.chat)
    plan = configuration(shape, tokenizer)
    if not is_here or len(sample) < len(documents):
        plan.get_text_config().vocab_size = shape.vocabulary
    whole = is_here and len(sample) == len(documents)
    learned = "the corpus" if whole else f"{counted(len(sample), 'document')} of {corpus}"
    return Blueprint(
        outline=outlined(plan),
        tokenizer=tokenizer,
        source=shape,
        origin=f"not trained yet, random weights stand in, and a tokenizer learned from {learned}",
    )
