"""The sections of the configuration that no other part of the program defines."""

from __future__ import annotations

from dataclasses import dataclass

from safeclip_jax.settings.fields import SHARE, at_least, one_of, rising_shares, setting

DTYPES = ("float32", "bfloat16")
REMAT = ("none", "products", "blocks")


@dataclass(frozen=True)
class Mesh:
    """How arrays lie on the devices."""

    fsdp: int = setting(1, "devices over which parameters and optimiser are split", at_least(1))


@dataclass(frozen=True)
class Data:
    """The training pairs."""

    source: str = setting("scenes", "scenes, relations, or KIND:PATH, see docs/data")
    mix: tuple[dict, ...] = setting((), "several sources: source, weight and keys of data of each")
    pairs: int = setting(
        12_000, "of scenes: how many; else a random choice; 0 for all", at_least(0)
    )
    part: tuple[float, float] = setting(
        (0.0, 1.0), "pairs between two shares, in an order shuffled by data.seed", rising_shares()
    )
    seed: int | None = setting(None, "of scenes, parts and choices; None: the run's seed")
    leave_out: str = setting("", "scores.csv of an audit of the same pairs: flagged ones stay out")
    image_column: str = setting("", "of image paths in a table; empty: image, path, filepath …")
    caption_column: str = setting("", "column, .json field or feature; empty: caption, title …")
    label_column: str = setting("", "column or .json field with the class name; empty: no labels")
    columns: str = setting("", "of a table without a header, as caption,url; empty: its header")
    images: str = setting("", "folder of the images of a table or coco file; empty: its own")
    split: str = setting("train", "of a tfds data set")
    data_dir: str = setting("", "where tfds data sets were prepared; empty: its default")
    allow_missing: bool = setting(
        False, "leave out shards that are missing or torn; each counts as a record"
    )
    cache_gib: float = setting(
        1.0, "keep decoded images in memory if they take no more, in GiB", at_least(0)
    )
    threads: int | None = setting(
        None, "batches that a process makes at once; None: by its cores", at_least(1)
    )
    workers: int | None = setting(
        None, "processes that decode; 0: threads do; None: by the cores", at_least(0)
    )
    max_skipped_share: float = setting(0.1, "of the records; stop if more cannot be used", SHARE)
    wordnet: str = setting(
        "auto", "folder of WordNet, for synonyms; auto: look for one; empty: none"
    )
    augment_captions: str = setting(
        "eda",
        "eda: afresh in each epoch; published: as SafeCLIP's code, once for the run",
        one_of(("eda", "published")),
    )
    tokenizer: str = setting(
        "auto", "train, clip, or a folder; auto: drawn scenes train one, others take CLIP's own"
    )
    vocab_size: int = setting(49_408, "largest vocabulary of a trained tokenizer", at_least(260))
    context: int = setting(77, "tokens in a caption, start and end included", at_least(3))


@dataclass(frozen=True)
class Model:
    """The towers; which presets there are says docs/models."""

    preset: str = setting("vit_b32", "shape of the model: vit_b32, rn50, tiny …")
    image_size: int = setting(224, "side of the images in pixels", at_least(8))
    activation: str = setting("", "gelu or quick_gelu (OpenAI's weights); empty: the preset's")
    pool: str = setting("", "of a ViT: class_token or mean; empty: the preset's")
    mean: tuple[float, float, float] = setting(
        (0.48145466, 0.4578275, 0.40821073), "of red, green and blue in 0 to 1; CLIP's"
    )
    std: tuple[float, float, float] = setting(
        (0.26862954, 0.26130258, 0.27577711), "of red, green and blue in 0 to 1; CLIP's"
    )
    remat: str = setting("none", "what is computed again for less memory", one_of(REMAT))
    scan: bool = setting(False, "compile one block a tower and repeat it: compiles faster")
    dtype: str = setting("float32", "of the computation", one_of(DTYPES))


@dataclass(frozen=True)
class Optimizer:
    """AdamW and its schedule: linear warm-up, then a cosine to zero."""

    learning_rate: float = setting(5e-4, "peak of the schedule", at_least(0))
    warmup_pairs: float = setting(5_120_000.0, "pairs of the linear warm-up", at_least(0))
    b1: float = setting(0.9, "decay of the first moment", SHARE)
    b2: float = setting(0.999, "decay of the second moment", SHARE)
    weight_decay: float = setting(0.1, "of matrices, not of norms and biases", at_least(0))
    max_skipped_steps: int = setting(
        20, "non-finite steps in a row before the run goes back", at_least(1)
    )
    rollbacks: int = setting(1, "times that it goes back to the last good checkpoint", at_least(0))


@dataclass(frozen=True)
class Unimodal:
    """The banks of the unimodal losses, and of RoCLIP's captions."""

    bank_size: int = setting(65_536, "past embeddings in each bank", at_least(1))
    split_banks: bool = setting(False, "whether they are split over the devices, as a batch is")


@dataclass(frozen=True)
class Evaluate:
    """What a run is evaluated on, and how."""

    every: int = setting(0, "epochs between evaluations; 0: at the end only", at_least(0))
    source: str = setting("scenes", "held-out images: a data set by name, or as data.source")
    pairs: int = setting(2_000, "at most so many; 0: all", at_least(0))
    split: str = setting("test", "of drawn scenes or a tfds data set; tune on validation")
    part: tuple[float, float] = setting((0.0, 1.0), "as data.part", rising_shares())
    prompts: str = setting("templates", "with the class name; captions (of training), or FILE.json")
    tasks: tuple[str, ...] = setting(
        ("zero_shot", "attack"), "also retrieval, linear_probe, published_probe, knn"
    )
    learn: str = setting("", "KIND:PATH that probes learn from; empty: the training split")
    also: tuple[str, ...] = setting((), "further data sets, by name or KIND:PATH")
