"""`chat`: talk to one model, or to two side by side, in the terminal."""

from pathlib import Path

from rich.columns import Columns
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from palate.config.common import ComputeConfig, PromptConfig, SamplingConfig
from palate.maths.seeds import seed
from palate.models.forward import supports_tree
from palate.models.load import load_policy
from palate.models.precision import pick_device
from palate.records import Message, Prompt
from palate.stages.policies import OpenPolicy
from palate.stages.progress import quiet_libraries
from palate.store.runs import check_path


def run(models: list[str], *, console: Console, sampling: SamplingConfig) -> None:
    """Read prompts until end of input; every model keeps its own conversation until `/new`."""
    quiet_libraries()
    policies = {source: open_chat(source) for source in models}
    history: dict[str, tuple[Message, ...]] = dict.fromkeys(models, ())
    console.print("[dim]/new starts over, Ctrl-D ends[/]")
    turn = 0
    while True:
        try:
            asked = console.input("[bold]you>[/] ").strip()
        except EOFError:
            return
        if asked == "/new":
            history = dict.fromkeys(models, ())
        elif asked:
            for source, policy in policies.items():
                turns = (*history[source], Message(role="user", content=asked))
                answer = reply(policy, turns, sampling, turn)
                history[source] = (*turns, Message(role="assistant", content=answer))
            panels = [
                Panel(Text(history[source][-1].content or "(nothing)"), title=source)
                for source in models
            ]
            console.print(Columns(panels, equal=True, expand=True))
            turn += 1


def open_chat(source: str) -> OpenPolicy:
    """A model to talk to: its chat template when it has one, else the raw text."""
    check_path(Path(source))
    device = pick_device("auto")
    loaded = load_policy(source, device=device)
    style = "chat" if loaded.tokenizer.chat_template else "raw"
    return OpenPolicy(
        network=loaded.network,
        tokenizer=loaded.tokenizer,
        encoder=loaded.encoder(PromptConfig(format=style)),
        layout=supports_tree(loaded.network).layout,
        device=device,
        compute=ComputeConfig(),
    )


def reply(
    policy: OpenPolicy, turns: tuple[Message, ...], sampling: SamplingConfig, turn: int
) -> str:
    """One sampled answer to the conversation so far."""
    prompt = policy.encoder.encode_prompt(Prompt(messages=turns))
    ((rollout,),) = policy.sampler(sampling).sample([prompt], 1, seed=seed(0, "chat", turn))
    return policy.encoder.decode(rollout.tokens)
