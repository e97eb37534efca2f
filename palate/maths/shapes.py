"""The axes of every tensor, as jaxtyping aliases: the only file that spells them.

Index t of a [response, time] tensor speaks about response token t; padding is on the right and is
False in the mask. `pair` counts preferences, `group` prompts, `rank` places in a ranking,
`matrix` weights of one shape.
"""

from jaxtyping import Bool, Float, Int
from torch import Tensor

TokenIds = Int[Tensor, "response time"]
TokenMask = Bool[Tensor, "response time"]
PerToken = Float[Tensor, "response time"]

PerResponse = Float[Tensor, "response"]
ResponseMask = Bool[Tensor, "response"]
Lengths = Int[Tensor, "response"]
GroupIndex = Int[Tensor, "response"]

PerGroup = Float[Tensor, "group"]
GroupMask = Bool[Tensor, "group"]
PerRank = Float[Tensor, "group rank"]
Ranking = Int[Tensor, "group rank"]

PerPair = Float[Tensor, "pair"]
Outcome = Int[Tensor, "pair"]
Thresholds = Float[Tensor, "threshold"]

Scalar = Float[Tensor, ""]
Matrices = Float[Tensor, "matrix row column"]
Logits = Float[Tensor, "*axes vocabulary"]
Ids = Int[Tensor, "*axes"]
PerId = Float[Tensor, "*axes"]
