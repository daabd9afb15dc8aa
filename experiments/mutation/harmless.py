"""Changes that leave a module as good as it was, with the reason; no test can tell them."""

from __future__ import annotations

import re

_MEMORY = "only how much is in memory at a time"
_SALT = "what seeds of different draws are told apart by: any number is as good"
_HIGHEST = "a CPU multiplies in single precision whatever is asked for"
_DRAW = "a random choice is as good in another order of its draws"

# Module, an expression that the change matches, and why nothing that is promised differs.
HARMLESS: tuple[tuple[str, str, str], ...] = (
    ("evaluation/zero_shot", r"^_(TEXTS_AT_ONCE|IMAGES_A_DEVICE) = ", _MEMORY),
    ("evaluation/retrieval", r"^_(CANDIDATES|QUERIES_A_DEVICE) = ", _MEMORY),
    ("neighbors/nearest", r"^_(CANDIDATES|QUERIES_A_DEVICE) = ", _MEMORY),
    ("neighbors/density", r"^_AT_ONCE = ", _MEMORY),
    ("neighbors/density", r"→ .*distances <= _CLOSE\)$", "at 0.1 both ways give the distance"),
    ("neighbors/density", r"→ .*norm\(apart, axis=1\)$", "the array has two axes: 1 is the last"),
    ("training/score_memory", r"^_AT_ONCE = ", _MEMORY),
    ("defenses/ranking", r"^_AT_ONCE = ", _MEMORY),
    ("attacks/captions", r"^_ROWS = ", _MEMORY),
    ("attacks/triggers/blend", r"^@lru_cache\(maxsize=8\)", "only how many patterns are kept"),
    ("attacks/triggers/warp", r"^@lru_cache\(maxsize=8\)", "only how many warps are kept"),
    ("attacks/triggers/structured", r"^@lru_cache\(maxsize=8\)", "only how many words are kept"),
    ("attacks/triggers/optimized", r"^@lru_cache\(maxsize=8\)", "only how many patches are kept"),
    (
        "attacks/triggers/warp",
        r"map_coordinates.*→ .*order=1\) for",
        "all places lie within the image: nothing is looked up beyond its border",
    ),
    (
        "attacks/triggers/blend",
        r"_pattern\(self.pattern, [89], [89], ",
        "a check at any small size",
    ),
    ("evaluation/zero_shot", r"→ .*ahead\.sum\(axis=1\)\)$", "JAX counts in int32 anyway"),
    ("neighbors/nearest", r"→ .*jnp\.matmul\(queries, candidates\.T\)$", _HIGHEST),
    ("auditing/detectors", r"^rng = .*\[self\.seed, 95\]", _SALT),
    ("attacks/backdoor", r"^rng = .*(48045|31270|2989)", _SALT),
    ("attacks/targeted", r"^rng = .*(48045|31270|2989)", _SALT),
    ("data/augment_image", r"^side = images\.shape\[1\]", "images are as high as they are wide"),
    ("data/tokenizer", r"indent=1\).*(indent=2\)|dumps\(config\))", "white space in a file"),
    ("data/tokenizer", r"to_str\(pretty=", "white space in a file"),
    ("defenses/ranking", r"np\.zeros\(0, np\.int64\)", "an array without elements"),
    ("attacks/manifest", r"indent=1\).*indent=2\)", "white space in a file"),
    (
        "auditing/groups",
        r"^_AT_ONCE = ",
        "how much is in memory at a time, and of how many vectors a middle is estimated",
    ),
    ("training/steps", r"apply_updates\(updates, new\.params\)", "a sum, in the other order"),
    ("auditing/groups", r"→ .*reshape\(-2, ", "NumPy takes any negative size for what is left"),
    (
        "training/score_memory",
        r"→ devices = 2 if",
        "what lies whole on every device can be read in any number of rows that divides it",
    ),
    (
        "training/steps",
        r"^state = state\.replace\(batch_stats=jax\.lax\.stop_gradient\(batch_stats\)\) → "
        r"state = state\.replace\(batch_stats=batch_stats\)$",
        "statistics are returned beside the loss, and no gradient is taken of them",
    ),
    (
        "training/steps",
        r"→ def init\(self, batch_size: int, pairs: int=1",
        "the number of pairs is asked for only where scores are remembered, and given there",
    ),
    (
        "training/steps",
        r"platform == 'cpu'",
        "the two ways to choose between updated and old state differ in speed alone",
    ),
)


def reason(module: str, change: str) -> str | None:
    """Why a change is harmless; None if it is not known to be."""
    for of, pattern, why in HARMLESS:
        if of == module and re.search(pattern, change):
            return why
    return None
