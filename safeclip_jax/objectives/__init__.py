"""Objectives by name, as they are without settings of their own."""

from safeclip_jax.objectives.bank_matched import BANK_MATCHED
from safeclip_jax.objectives.clip import CLIP
from safeclip_jax.objectives.clip_and_unimodal import ClipAndUnimodal
from safeclip_jax.objectives.crosswise import CROSSWISE
from safeclip_jax.objectives.objective import Objective
from safeclip_jax.objectives.perturbed import Perturbed
from safeclip_jax.objectives.unimodal import UNIMODAL

_ALL = (CLIP, UNIMODAL, BANK_MATCHED, CROSSWISE, ClipAndUnimodal(), Perturbed())
OBJECTIVES: dict[str, Objective] = {objective.name: objective for objective in _ALL}
