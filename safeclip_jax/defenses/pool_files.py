"""Files of pools: one an epoch, with scores, fit and digest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from safeclip_jax.defenses.mixture import Mixture
from safeclip_jax.defenses.pools import RULES, Pools
from safeclip_jax.errors import UserError, first_line
from safeclip_jax.system import arrays_file, atomic_file

_MEND = "restore the file, or train anew in another --workdir"


def path(folder: Path, epoch: int) -> Path:
    """Where a run keeps the pools of an epoch."""
    return folder / "pools" / f"epoch_{epoch:03d}.npz"


def save(pools: Pools, path: Path) -> None:
    """Writes the pools with their scores, fit and digest."""
    arrays = {
        "safe_bits": np.packbits(pools.is_safe),
        "scores": pools.scores,
        "barred": pools.excluded,
        "rule": np.array(pools.rule),
        "digest": np.frombuffer(pools.digest().encode(), np.uint8),
    }
    if pools.mixture is not None:
        m = pools.mixture
        arrays["mixture"] = np.stack([m.means, m.stds, m.weights])
    path.parent.mkdir(exist_ok=True)
    with atomic_file.writing(path) as file:
        np.savez(file, allow_pickle=False, **arrays)


def load(path: Path) -> Pools:
    """Reads pools that `save` wrote, now or when it noted indices and P(safe).

    Raises:
      UserError: if the file cannot be read or its digest does not fit its content.
    """
    try:
        data = arrays_file.read(path)
        pools = _by_bits(data) if "safe_bits" in data else _by_indices(data)
        digest = data["digest"].tobytes().decode()
    except Exception as error:
        raise UserError(f"pools {path} cannot be read ({first_line(error)}): {_MEND}") from None
    if digest != pools.digest():
        raise UserError(f"pools {path} do not match their digest: {_MEND}")
    return pools


def _by_bits(data: Mapping[str, np.ndarray]) -> Pools:
    scores, rule = data["scores"], str(data["rule"])
    if rule not in RULES:
        raise ValueError(f"rule {rule!r}")
    safe = np.unpackbits(data["safe_bits"], count=len(scores)).view(bool)
    return Pools(safe, scores, _mixture(data), data["barred"], rule)


def _by_indices(data: Mapping[str, np.ndarray]) -> Pools:
    """Of a file that does not name its rule: the one that gives the P(safe) in it."""
    scores, p_safe = data["scores"], data["p_safe"]
    safe = np.zeros(len(scores), bool)
    safe[data["safe"]] = True
    by_rule = [Pools(safe, scores, _mixture(data), data["barred"], rule) for rule in RULES]
    return min(by_rule, key=lambda pools: float(np.abs(pools.p_safe - p_safe).max()))


def _mixture(data: Mapping[str, np.ndarray]) -> Mixture | None:
    return Mixture(*data["mixture"]) if "mixture" in data else None
