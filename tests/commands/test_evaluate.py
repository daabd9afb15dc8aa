"""`python -m safeclip_jax.evaluate` on models that were never trained."""

import csv
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from safeclip_jax.attacks.triggers import Patch
from safeclip_jax.commands import evaluate as command
from safeclip_jax.commands import program
from safeclip_jax.data.decode import Resized
from safeclip_jax.data.sources.folder import Folder
from safeclip_jax.data.sources.scenes import PROMPTS, Scenes
from safeclip_jax.errors import UserError
from safeclip_jax.evaluation import features, subject, zero_shot
from safeclip_jax.evaluation.embedding import Embedding
from safeclip_jax.evaluation.records import Record, comparison
from safeclip_jax.training.evaluator import Evaluator
from safeclip_jax.training.experiment import build
from safeclip_jax.weights.write import write
from tests.support.data_files import encoded, picture
from tests.weights.test_weights import random_model


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write(random_model(seed=0), folder / "one", "native")
    write(random_model(seed=1), folder / "two", "huggingface")
    return [str(folder / name) for name in ("one", "two")]


@pytest.fixture
def evaluate(tmp_path):
    def run(*arguments, out="out"):
        cache = () if "--no-cache" in arguments else ("--cache", tmp_path / "cache")
        arguments = [*arguments, "--out", tmp_path / out, *cache]
        status = command.main(list(map(str, arguments)))
        assert status == 0
        return tmp_path / out

    return run


def test_models_of_the_same_name_have_columns_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = [Path("a/seed0"), Path("b/seed0"), Path("b/seed1")]
    assert subject.by_name(paths[1:]) == {"seed0": paths[1], "seed1": paths[2]}
    found = subject.by_name([*paths, Path("a/../a/seed0")])
    assert list(found) == ["a/seed0", "b/seed0", "b/seed1"]
    assert [path.resolve() for path in found.values()] == [path.resolve() for path in paths]


def test_all_tasks_of_two_models_in_one_table(models, evaluate, capsys):
    tasks = ("zero_shot", "attack", "retrieval", "linear_probe", "knn")
    flags = ("--data", "scenes", "--pairs", "70", "--batch", "32", "--target", "heart")
    out = evaluate("--checkpoint", *models, "--tasks", *tasks, *flags)
    shown = capsys.readouterr().out
    assert "attack success rate by wanet" in shown and "k-NN accuracy" in shown
    page = (out / "report.html").read_text()
    assert page.count('class="matrix"') == 2 and 'class="share"' in page
    assert not re.search(r"(src|href)=.http", page)
    assert (out / "skipped.jsonl").read_text() == ""
    rows = list(csv.DictReader((out / "results.csv").open()))
    figures = {(row["model"], row["figure"]): float(row["value"]) for row in rows}
    record = json.loads((out / "two_scenes_zero_shot.json").read_text())
    assert record["task"] == "zeroshot_classification" and record["dataset"] == "scenes"
    assert record["metrics"]["acc1"] == figures["two", "zero_shot_accuracy"]
    assert record["counts"]["acc1"]["of"] == 70
    retrieval = json.loads((out / "one_scenes_retrieval.json").read_text())
    assert set(retrieval["metrics"]) == {
        f"{kind}_retrieval_recall@{k}" for kind in ("image", "text") for k in (1, 5, 10)
    }
    assert (out / "results.md").read_text().count("\n") == 3 + len({row["figure"] for row in rows})

    import safeclip_jax

    model = safeclip_jax.load(models[1])
    scenes = Scenes(70, 0, split="test", size=32)
    classes = zero_shot.class_vectors(
        model.embed_texts, [[p.format(c) for p in PROMPTS] for c in scenes.class_names]
    )
    vectors = model.embed_images([scenes.image(i) for i in range(70)])
    hits = np.mean((vectors @ classes.T).argmax(axis=1) == scenes.labels)
    assert record["metrics"]["acc1"] == hits


def test_features_are_computed_once(models, evaluate, monkeypatch, tmp_path):
    passes = []
    compute = Embedding.images

    def counting(self, images, trigger=None):
        passes.append(trigger)
        return compute(self, images, trigger)

    monkeypatch.setattr(Embedding, "images", counting)
    flags = ("--checkpoint", models[0], "--tasks", "zero_shot", "attack", "--data", "scenes")
    flags += ("--pairs", "40", "--triggers", "badnets", "--target", "heart")
    first = evaluate(*flags)
    assert [type(trigger) for trigger in passes] == [type(None), Patch]
    kept = sorted((tmp_path / "cache").iterdir())
    kept[0].write_bytes(b"torn")
    second = evaluate(*flags, out="again")
    assert len(passes) == 3
    for name in ("results.csv", "one_scenes_attack.json"):
        assert (first / name).read_text() == (second / name).read_text()
    evaluate(*flags, "--no-cache", out="none")
    assert len(passes) == 6  # zero_shot and attack both ask; without a trigger it is known


def test_digests_tell_models_and_data_apart(models, tmp_path):
    import safeclip_jax

    loaded = [safeclip_jax.load(path) for path in models]
    assert features.of_model(loaded[0]) != features.of_model(loaded[1])
    assert features.of_model(loaded[0]) == features.of_model(safeclip_jax.load(models[0]))
    (tmp_path / "red").mkdir()
    path = tmp_path / "red" / "a.png"
    path.write_bytes(encoded(picture("red")))
    first = features.of_source(Resized(Folder(str(tmp_path)), 32))
    assert first != features.of_source(Resized(Folder(str(tmp_path)), 64))
    path.write_bytes(encoded(picture("green")))
    assert first != features.of_source(Resized(Folder(str(tmp_path)), 32))


def test_bad_images_are_left_out_listed_and_limited(models, evaluate, tmp_path):
    for name in ("red", "blue"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(10):
            (tmp_path / "data" / name / f"{i}.png").write_bytes(encoded(picture(name)))
    (tmp_path / "data" / "red" / "3.png").write_bytes(b"no image")
    flags = ("--checkpoint", models[0], "--data", f"folder:{tmp_path / 'data'}")
    out = evaluate(*flags)
    record = next(json.loads(p.read_text()) for p in out.glob("*_zero_shot.json"))
    assert record["counts"]["acc1"]["of"] == 19
    (line,) = map(json.loads, (out / "skipped.jsonl").read_text().splitlines())
    assert line["key"] == "red/3.png" and "not an image" in line["reason"]
    kept = evaluate(*flags, out="kept")  # from features that lack that image
    assert (kept / "skipped.jsonl").read_text() == (out / "skipped.jsonl").read_text()
    (counted,) = [json.loads(p.read_text()) for p in kept.glob("*_zero_shot.json")]
    assert (counted["images"], counted["skipped"]) == (20, 1)
    with pytest.raises(UserError, match=r"1 of 20 records cannot be used.*strict/skipped\.jsonl"):
        evaluate(*flags, "--max-skipped-share", "0.01", "--no-cache", out="strict")
    assert (out.parent / "strict" / "skipped.jsonl").read_text() == (
        out / "skipped.jsonl"
    ).read_text()


def test_what_was_measured_on_other_images_is_told_apart():
    def record(model, task, measured, images=8):
        return Record(model, "x", "scenes", task, {"a": 0.5}, images=images, measured=measured)

    same = [record("one", "zero_shot", "abc"), record("two", "zero_shot", "abc")]
    assert [row[0][0] for row in comparison(same)[1]] == ["scenes", "scenes"]
    other = [*same, record("one", "attack", "1234567"), record("two", "attack", "7654321", 9)]
    header, rows = comparison(other)
    assert header == ["data", "figure", "one", "two"]
    shown = [[text for text, _ in row] for row in rows]
    assert ["scenes (123456)", "images", "8", "–"] in shown
    assert ["scenes (765432)", "a", "–", "50.0%"] in shown


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--tasks", "zeroshot"], "unknown --tasks 'zeroshot': did you mean 'zero_shot'"),
        (["--data", "cifar"], "unknown data set to evaluate on 'cifar': did you mean 'cifar10'"),
        ([], "is no run of ours: name what to evaluate on with --data"),
        (["--batch", "0"], "--batch=0"),
        (["--data", "scenes", "--pairs", "8", "--tasks", "attack"], "Give --target"),
        (["--data", "scenes", "--prompts", "none.json"], "prompts none.json cannot be read"),
        (["--data", "cifar10", "--data-dir", "/nowhere"], "tfds:cifar10 is not prepared"),
    ],
)
def test_bad_arguments_get_one_line(models, evaluate, flags, message):
    with pytest.raises(UserError) as error:
        evaluate("--checkpoint", models[0], *flags)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_missing_checkpoint_is_one_line_and_status_2(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["evaluate", "--checkpoint", str(tmp_path / "none")])
    with pytest.raises(SystemExit) as stop:
        program.run(command.main)
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ") and "does not exist" in message


def test_evaluating_again_opens_and_keeps_nothing_more(config):
    config.epochs, config.attack.rate = 1, 0.0
    config.evaluate.tasks = ("zero_shot", "retrieval", "knn")
    experiment = build(config)
    evaluator = Evaluator(experiment)
    experiment.held_out.images.image_numbers = lambda: np.arange(64) // 2
    variables = experiment.initial_state().variables
    first = evaluator(variables)
    kept = dict(evaluator._reading._readers)
    assert len(kept) == 3 and first == evaluator(variables) | {"confusion": first["confusion"]}
    assert evaluator._reading._readers == kept
