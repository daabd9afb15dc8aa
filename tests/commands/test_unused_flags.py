"""No flag is dropped: what a command would not look at is refused, in the words of the command."""

import pytest

from safeclip_jax.commands import audit, evaluate, prepare
from safeclip_jax.errors import UserError
from safeclip_jax.weights.write import write
from tests.weights.test_weights import random_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "native"
    write(random_model(), folder, "native")
    return str(folder)


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--pairs", "8"], "--pairs is of data that --data names"),
        (["--split", "train"], "--split is of data"),
        (["--prompts", "x.json"], "--prompts is of data"),
        (["--label-column", "label"], "--label-column is of data"),
        (["--data", "scenes", "--columns", "a,b"], "--columns is read by csv, tsv, not by scenes"),
        (
            ["--data", "csv:x.csv", "--data-dir", "x"],
            "--data-dir is read by tfds, not by csv:x.csv",
        ),
        (["--data", "cifar10", "--images", "x"], "--images is read by csv"),
        (["--data", "scenes", "--own-data"], "--own-data is for a run's own data"),
        (["--data", "scenes", "--target", "heart"], "--target is for --tasks attack"),
        (["--data", "scenes", "--triggers", "all"], "--triggers is for --tasks attack"),
        (["--data", "scenes", "--learn", "scenes"], "--learn is for --tasks linear_probe"),
        (["--data", "scenes", "--cache", "x", "--no-cache"], "--cache and --no-cache exclude"),
        (["--data", "scenes", "--preset", "nano"], "--preset is for a bare file"),
    ],
)
def test_evaluate(model, tmp_path, flags, message):
    with pytest.raises(UserError) as error:
        evaluate.main(["--checkpoint", model, *flags, "--out", str(tmp_path / "out")])
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_errors_of_data_name_the_commands_own_flags(model, tmp_path):
    (tmp_path / "a.csv").write_text("image,caption,label\na.png,a,b\n")
    flags = ["--data", f"csv:{tmp_path}/a.csv", "--label-column", "label", "--tasks", "knn"]
    with pytest.raises(UserError, match="name labelled ones in --learn"):
        evaluate.main(["--checkpoint", model, *flags, "--no-cache", "--out", str(tmp_path)])
    flags = ["--checkpoint", model, "--data", "csv:gone.csv", "--out", str(tmp_path)]
    with pytest.raises(UserError, match="point --data=csv:PATH at your data"):
        evaluate.main(flags)


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--run", "RUN", "--checkpoint", "x"], "--checkpoint is for --data"),
        (["--run", "RUN", "--pairs", "9"], "--pairs is for --data"),
        (["--run", "RUN", "--split", "test"], "--split is for --data"),
        (["--run", "RUN", "--images", "x"], "--images is for --data"),
        (["--run", "RUN", "--config", "demo"], "--config says how a model is trained"),
        (["--data", "scenes", "--own-data"], "--own-data is for --run"),
        (["--data", "scenes", "--checkpoint", "x", "--config.epochs=1"], "--config says how"),
        (["--data", "coco:x.json", "--label-column", "a"], "--label-column is read by csv"),
        (["--run", "RUN", "--data", "scenes"], "either --run FOLDER or --data"),
    ],
)
def test_audit(model, tmp_path, flags, message):
    with pytest.raises(UserError) as error:
        audit.main([*(model if f == "RUN" else f for f in flags), "--out", str(tmp_path / "out")])
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--source", "csv:x.csv", "--count", "9"], "--count is of drawn scenes"),
        (
            ["--source", "csv:x.csv", "--split", "test"],
            "--split is read by scenes, relations, tfds",
        ),
        (["--source", "scenes", "--allow-missing"], "--allow-missing is read by webdataset"),
        (["--source", "scenes", "--size", "0", "--quality", "50"], "--quality changes nothing"),
        (["--source", "cvs:x"], "unknown --source 'cvs': did you mean 'csv'"),
        (["--source", "csv:TABLE"], "set --caption-column, or --columns if it has no header"),
    ],
)
def test_prepare(tmp_path, flags, message):
    (tmp_path / "t.csv").write_text("image,words\na.png,b\n")
    flags = [flag.replace("TABLE", str(tmp_path / "t.csv")) for flag in flags]
    with pytest.raises(UserError) as error:
        prepare.main([*flags, "--out", str(tmp_path / "out")])
    assert message in str(error.value) and "\n" not in str(error.value)
