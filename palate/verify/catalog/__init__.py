"""Every check there is: its claim, its run and its gates."""

from palate.verify.catalog.divergence import DIVERGENCE_SLOW, IN_THE_LOSS, STEERED
from palate.verify.catalog.fixed import FIXED
from palate.verify.catalog.networks import NETWORKS, NETWORKS_SLOW
from palate.verify.catalog.sampled import SAMPLED

QUICK = (*SAMPLED, *IN_THE_LOSS, *STEERED, *FIXED, *NETWORKS)
SLOW = (*DIVERGENCE_SLOW, *NETWORKS_SLOW)
