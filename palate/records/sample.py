"""What a policy answered to a watched prompt, at some point of its training."""

from palate.records.base import Record
from palate.records.conversation import Prompt, Response


class Sample(Record):
    """A response after `step` steps; `kl` is its k1 to the reference, nats over the response.

    >>> from palate.records import user_prompt
    >>> Sample(step=0, prompt=user_prompt("Hi"), response=Response(text="Hello."), score=1, kl=0).kl
    0.0
    """

    step: int
    prompt: Prompt
    response: Response
    score: float
    kl: float
