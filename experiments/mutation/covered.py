"""Which tests cover a module; those that take least come first."""

from __future__ import annotations

_LOSSES = "tests/objectives/test_losses.py"
_CHUNKED = f"{_LOSSES}::test_chunked_losses_and_gradients_equal_the_plain_ones"
_OBJECTIVES = (
    "tests/objectives/test_objectives.py",
    f"{_LOSSES}::test_info_nce_and_clip_loss_equal_float64_numpy",
    f"{_LOSSES}::test_unimodal_loss_equals_numpy_and_bank_is_first_in_first_out",
    f"{_LOSSES}::test_bank_matched_loss_equals_numpy_and_takes_in_the_captions",
    f"{_LOSSES}::test_chunked_nearest_takes_the_first_of_equals",
    f"{_LOSSES}::test_expected_logits_are_numpys_also_in_chunks_over_devices",
    f"{_CHUNKED}[4-False-2-1]",
    f"{_CHUNKED}[8-True-4-2]",
)
_SMALL_STEPS = "tests/training/test_small_steps.py"
_STEPS = "tests/training/test_steps.py"
_DEFENSES = "tests/defenses/test_defenses.py"
_UNUSABLE = "tests/evaluation/test_unusable.py"
_PAIRS = "tests/evaluation/test_pair_attacks.py"
_ATTACKS = "tests/attacks/test_attacks.py"
_AUDIT = "tests/auditing/test_detectors.py"

TESTS: dict[str, tuple[str, ...]] = {
    "objectives/losses": _OBJECTIVES,
    "objectives/bank": _OBJECTIVES,
    "objectives/chunked": _OBJECTIVES,
    "objectives/clip": _OBJECTIVES,
    "objectives/unimodal": _OBJECTIVES,
    "objectives/bank_matched": _OBJECTIVES,
    "objectives/clip_and_unimodal": _OBJECTIVES,
    "objectives/crosswise": _OBJECTIVES,
    "objectives/objective": _OBJECTIVES,
    "training/steps": (
        _SMALL_STEPS,
        f"{_STEPS}::test_fsdp_splits_parameters_and_moments_over_its_axis",
        f"{_STEPS}::test_a_step_remembers_the_scores_that_its_pairs_had_before_it",
    ),
    "training/state": (_SMALL_STEPS, f"{_STEPS}::test_only_matrices_decay"),
    "training/scoring": ("tests/training/test_scoring.py",),
    "training/score_memory": ("tests/training/test_score_memory.py",),
    "training/schedule": ("tests/training/test_schedule.py",),
    "data/augment_image": ("tests/data/test_augment_image.py",),
    "data/augment_text": ("tests/data/test_augment_text.py",),
    "data/tokenizer": ("tests/data/test_tokenizer.py",),
    "data/prompts": ("tests/data/test_prompts.py",),
    "defenses/pools": ("tests/defenses/test_pools.py",),
    "defenses/mixture": (
        "tests/defenses/test_mixture.py",
        "tests/defenses/test_pools.py",
        "tests/defenses/test_published.py",
    ),
    "defenses/ranking": ("tests/defenses/test_ranking.py",),
    "defenses/outliers": ("tests/defenses/test_outliers.py",),
    "defenses/scores": ("tests/defenses/test_scores.py",),
    "defenses/safeclip": (_DEFENSES, "tests/defenses/test_pools.py"),
    "defenses/safeclip_plus": (_DEFENSES,),
    "defenses/published": ("tests/defenses/test_published.py",),
    "defenses/roclip": (_DEFENSES,),
    "defenses/cleanclip": (_DEFENSES,),
    "defenses/pool_files": ("tests/defenses/test_pools.py",),
    "neighbors/density": ("tests/neighbors/test_density.py",),
    "neighbors/nearest": ("tests/neighbors/test_nearest.py",),
    "evaluation/zero_shot": ("tests/evaluation/test_zero_shot.py", _UNUSABLE),
    "evaluation/retrieval": ("tests/evaluation/test_retrieval.py", _UNUSABLE),
    "evaluation/knn": ("tests/evaluation/test_probes.py", _UNUSABLE),
    "evaluation/linear_probe": ("tests/evaluation/test_probes.py", _UNUSABLE),
    "evaluation/attack": ("tests/evaluation/test_tasks.py", _PAIRS, _UNUSABLE),
    "evaluation/text_attack": (_PAIRS,),
    "evaluation/share": ("tests/evaluation/test_share.py", "tests/evaluation/test_tasks.py"),
    "evaluation/detection": ("tests/evaluation/test_tasks.py", _PAIRS),
    **{
        f"attacks/triggers/{name}": ("tests/attacks/test_triggers.py",)
        for name in ("__init__", "patch", "blend", "sinusoid", "warp", "color_curve")
    },
    "attacks/triggers/structured": ("tests/attacks/test_structured.py",),
    "attacks/triggers/frequency": ("tests/attacks/test_frequency.py",),
    "attacks/triggers/dither": ("tests/attacks/test_dither.py",),
    "attacks/triggers/optimized": ("tests/attacks/test_optimized_patch.py",),
    "attacks/optimized_patch": ("tests/attacks/test_optimized_patch.py",),
    "attacks/attack": (_ATTACKS,),
    "attacks/captions": ("tests/attacks/test_captions.py", _ATTACKS),
    "attacks/backdoor": ("tests/attacks/test_poison.py", _ATTACKS),
    "attacks/manifest": ("tests/attacks/test_poison.py", _ATTACKS),
    "attacks/poisoned_source": ("tests/attacks/test_poison.py", _ATTACKS),
    "attacks/targeted": ("tests/attacks/test_poison.py", _ATTACKS),
    **{
        f"attacks/{name}": ("tests/attacks/test_pairs.py", _ATTACKS)
        for name in ("background", "multi_target", "natural", "semantic", "text_backdoor")
    },
    "attacks/victims": ("tests/attacks/test_poison.py", _ATTACKS),
    "auditing/detectors": ("tests/auditing/test_surroundings.py", _AUDIT),
    "auditing/mismatch": ("tests/auditing/test_mismatch.py", _AUDIT),
    "auditing/pattern": ("tests/auditing/test_pattern.py", _AUDIT),
    "auditing/groups": ("tests/auditing/test_groups.py", _AUDIT),
    "auditing/verdict": ("tests/auditing/test_verdict.py", _AUDIT),
}
