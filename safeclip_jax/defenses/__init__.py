"""Defences by name. A defence is a plan: (epoch, pair scores) → the stages of that epoch."""

from safeclip_jax.defenses.cleanclip import CleanCLIP
from safeclip_jax.defenses.clipscore import CLIPScoreFilter
from safeclip_jax.defenses.defense import Defense
from safeclip_jax.defenses.none import NoDefense
from safeclip_jax.defenses.par import PAR
from safeclip_jax.defenses.published import PublishedSafeCLIP
from safeclip_jax.defenses.roclip import RoCLIP
from safeclip_jax.defenses.safeclip import SafeCLIP
from safeclip_jax.defenses.safeclip_plus import SafeCLIPPlus

DEFENSES: dict[str, Defense] = {
    "none": NoDefense(),
    "augmentation": NoDefense(augment=True),
    "roclip": RoCLIP(),
    "cleanclip": CleanCLIP(),
    "par": PAR(),
    "clipscore": CLIPScoreFilter(),
    "safeclip": SafeCLIP(),
    "safeclip_plus": SafeCLIPPlus(),
    "published": PublishedSafeCLIP(),
}
