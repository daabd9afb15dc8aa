"""CLIP_benchmark counts what we count, on an image folder of scenes with exported weights.

Needs `open_clip_torch`, torchvision and `pip install --no-deps clip-benchmark`; run by hand:

pytest -n 0 -m by_hand tests/evaluation/test_clip_benchmark.py
"""

import json

import pytest
from PIL import Image

from safeclip_jax.commands import evaluate as command
from safeclip_jax.data.sources.scenes import Scenes
from safeclip_jax.weights import pretrained
from safeclip_jax.weights.write import write
from tests.support.data_files import encoded
from tests.weights.test_weights import random_model

pytestmark = pytest.mark.by_hand
open_clip = pytest.importorskip("open_clip")
torch = pytest.importorskip("torch")
pytest.importorskip("clip_benchmark")
TEMPLATES = ["a photo of a {c}", "a picture of a {c}", "an image of a {c}"]
COUNT = 300


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A model for both, and scenes as class folders and as a COCO file with two captions each."""
    folder = tmp_path_factory.mktemp("written")
    write(random_model("vit_nano8", 32, end_last=True, seed=3), folder / "model", "open_clip")
    scenes, images, annotations = Scenes(COUNT, 5, split="test", size=32), [], []
    for i in range(COUNT):
        name = f"{scenes.class_names[scenes.labels[i]]}/{i:04d}.png"
        path = folder / "classes" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(Image.fromarray(scenes.image(i))))
        images.append({"id": i, "file_name": name})
        for j, text in enumerate((f"{scenes.captions[i]}, {i}", f"number {i}")):
            annotations.append({"id": 2 * i + j, "image_id": i, "caption": text})
    content = {"images": images, "annotations": annotations}
    (folder / "classes" / "captions.json").write_text(json.dumps(content))
    return folder


def ours(written, task, data, tmp_path):
    flags = ["--checkpoint", written / "model", "--tasks", task, "--data", data, "--no-cache"]
    assert command.main([*map(str, flags), "--out", str(tmp_path)]) == 0
    (path,) = tmp_path.glob("model_*.json")
    return json.loads(path.read_text())


def theirs_of(written):
    folder = f"local-dir:{written / 'model'}"
    model, _, preprocess = open_clip.create_model_and_transforms(folder)
    words = pretrained.read(written / "model").tokenizer
    return model.eval(), preprocess, lambda texts: torch.tensor(words.encode(texts)).long()


def test_zero_shot_counts(written, tmp_path, monkeypatch):
    from clip_benchmark.metrics import zeroshot_classification
    from torchvision.datasets import ImageFolder

    # It calls float() on an array of one number, which NumPy no longer allows.
    monkeypatch.setattr(zeroshot_classification, "float", lambda x: x.item(), raising=False)
    model, preprocess, tokenizer = theirs_of(written)
    # CLIP_benchmark wants folders of classes only.
    data = ImageFolder(written / "classes", preprocess)
    loader = torch.utils.data.DataLoader(data, 64)
    theirs = zeroshot_classification.evaluate(
        model, loader, tokenizer, data.classes, TEMPLATES, "cpu", amp=False
    )
    found = ours(written, "zero_shot", f"folder:{written / 'classes'}", tmp_path)
    for name in ("acc1", "acc5"):
        assert found["counts"][name]["count"] == round(theirs[name] * COUNT)
    assert found["metrics"]["mean_per_class_recall"] == pytest.approx(
        theirs["mean_per_class_recall"]
    )


def test_retrieval_counts(written, tmp_path):
    from clip_benchmark.metrics import zeroshot_retrieval

    model, preprocess, tokenizer = theirs_of(written)
    content = json.loads((written / "classes" / "captions.json").read_text())
    rows = [
        (
            preprocess(Image.open(written / "classes" / image["file_name"]).convert("RGB")),
            [a["caption"] for a in content["annotations"] if a["image_id"] == image["id"]],
        )
        for image in content["images"]
    ]
    loader = torch.utils.data.DataLoader(
        rows, 64, collate_fn=lambda b: (torch.stack([x for x, _ in b]), [t for _, t in b])
    )
    theirs = zeroshot_retrieval.evaluate(
        model, loader, tokenizer, "cpu", amp=False, recall_k_list=[1, 5, 10]
    )
    found = ours(written, "retrieval", f"coco:{written / 'classes' / 'captions.json'}", tmp_path)
    for name, share in found["counts"].items():
        assert share["count"] == round(theirs[name] * share["of"]), name
    assert found["counts"]["image_retrieval_recall@10"]["count"] > 0
