"""Triggers: pure functions on uint8 images, by name, whose size follows the image's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from safeclip_jax.attacks.triggers.blend import Blend
from safeclip_jax.attacks.triggers.color_curve import ColorCurve
from safeclip_jax.attacks.triggers.dither import Dither
from safeclip_jax.attacks.triggers.frequency import Frequency
from safeclip_jax.attacks.triggers.optimized import OptimizedPatch
from safeclip_jax.attacks.triggers.patch import PATTERNS, POSITIONS, Patch
from safeclip_jax.attacks.triggers.sinusoid import Sinusoid
from safeclip_jax.attacks.triggers.structured import Stripes, Triangles, Word
from safeclip_jax.attacks.triggers.trigger import Trigger
from safeclip_jax.attacks.triggers.warp import Warp
from safeclip_jax.errors import UserError, unknown
from safeclip_jax.settings.fields import SettingError

__all__ = [
    "PATTERNS", "POSITIONS", "TRIGGERS", "Blend", "ColorCurve", "Dither", "Frequency",
    "OptimizedPatch", "Patch", "Sinusoid", "Stripes", "Triangles", "Trigger", "Warp", "Word",
    "named",
]  # fmt: skip

TRIGGERS: dict[str, type[Trigger]] = {
    "badnets": Patch,
    "blended": Blend,
    "sig": Sinusoid,
    "wanet": Warp,
    "nashville": ColorCurve,
    "stripes": Stripes,
    "triangles": Triangles,
    "word": Word,
    "ftrojan": Frequency,
    "bpp": Dither,
    "badclip": OptimizedPatch,
}


def named(names: str, parameters: Mapping[str, Trigger], seed: int) -> dict[str, Trigger]:
    """The triggers of an attack by name.

    Args:
      names: names in `TRIGGERS`, joined by "+" where there are several.
      parameters: a trigger of each name, with its parameters.
      seed: of what the triggers draw.

    Raises:
      UserError: if a name is not known or comes twice, or a trigger cannot read its pattern.
    """
    found: dict[str, Trigger] = {}
    for name in names.split("+"):
        if name not in parameters:
            raise unknown("attack.trigger", name, parameters)
        if name in found:
            raise UserError(f"attack.trigger={names!r} names {name!r} twice")
        trigger: Any = parameters[name]
        found[name] = replace(trigger, seed=seed) if hasattr(trigger, "seed") else trigger
        if isinstance(trigger, Blend):
            _check(name, trigger)
    return found


def _check(name: str, blend: Blend) -> None:
    try:
        blend.check()
    except SettingError as error:
        key = f"attack.{name}.{error.key}"
        raise UserError(f"{key}={blend.pattern}: {error.problem}") from None
