"""Models given to commands: errors in the words of the command, and the layout that is written."""

import json
import shutil

import pytest

from safeclip_jax.errors import UserError, said_by
from safeclip_jax.weights import tensor_files
from safeclip_jax.weights.write import LAYOUTS, layout_for, write
from tests.commands.test_program import ended
from tests.weights.test_weights import random_model

FLAGS = {"import": "--model", "export": "--model", "audit": "--checkpoint",
         "evaluate": "--checkpoint"}  # fmt: skip
NAME = "text_model.encoder.layers.1.mlp.fc1.bias"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A model in Hugging Face's folder and one in open_clip's."""
    root = tmp_path_factory.mktemp("whole")
    write(random_model("vit_nano8"), root / "hf", "huggingface")
    write(random_model("rn_nano", end_last=True), root / "oc", "open_clip")
    return root


def without_weights(folder):
    (folder / "model.safetensors").unlink()
    return folder


def with_half_a_file(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    return folder


def with_other_shapes(folder):
    file = folder / "model.safetensors"
    tensors = tensor_files.read(file)
    tensor_files.write(file, {**tensors, NAME: tensors[NAME][:-1]}, {})
    return folder


def without_a_tokenizer(folder):
    (folder / "tokenizer.json").unlink()
    return folder


def without_anything(folder):
    shutil.rmtree(folder)
    folder.mkdir()
    return folder


BROKEN = {
    without_weights: "holds no weights: it has no model.safetensors or pytorch_model.bin",
    with_half_a_file: "is it whole? Copy it again",
    with_other_shapes: f"the tensor {NAME} is (255,), not (256,)",
    without_a_tokenizer: "put the model's tokenizer.json there",
    without_anything: "holds no model",
}


def given(command, path, tmp_path, *more):
    """The arguments that give a command a model."""
    flags = {"evaluate": ["--no-cache"], "audit": ["--data=scenes", "--pairs=64"]}.get(command, [])
    data = ["--data=scenes", "--pairs=20"] if command == "evaluate" else []
    return [command, FLAGS[command], path, f"--out={tmp_path / 'out'}", *flags, *data, *more]


@pytest.mark.parametrize("command", FLAGS)
@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_model_is_one_line_that_begins_with_the_flag(
    command, broken, whole, tmp_path, capsys, monkeypatch
):
    folder = broken(shutil.copytree(whole / "hf", tmp_path / "model"))
    status, err = ended(capsys, monkeypatch, *given(command, folder, tmp_path))
    assert status == 2 and err.count("\n") == 1, err
    assert err.startswith(f"error: {FLAGS[command]}: {folder}"), err
    assert BROKEN[broken] in err and "Traceback" not in err


@pytest.mark.parametrize("command", ["import", "export", "evaluate"])
@pytest.mark.parametrize("flags, said", [
    ([], "give --preset=NAME and --activation=NAME"),
    (["--preset=vit_nano8", "--activation=gelu"], "--preset=vit_nano8 does not fit: "),
    (["--preset=rn_nona", "--activation=gelu"], "--preset=rn_nona: unknown preset"),
    (["--preset=rn_nano", "--activation=relu"], "--activation=relu: unknown activation"),
])  # fmt: skip
def test_a_bare_file_asks_for_the_commands_flags(
    command, flags, said, whole, tmp_path, capsys, monkeypatch
):
    file = whole / "oc/open_clip_model.safetensors"
    status, err = ended(capsys, monkeypatch, *given(command, file, tmp_path, *flags))
    assert status == 2 and err.count("\n") == 1, err
    assert err.startswith(f"error: {FLAGS[command]}: ") and said in err


def test_audit_takes_folders_and_says_how_a_file_becomes_one(whole, tmp_path, capsys, monkeypatch):
    file = whole / "oc/open_clip_model.safetensors"
    status, err = ended(capsys, monkeypatch, *given("audit", file, tmp_path))
    assert status == 2 and err.count("\n") == 1
    assert f"safeclip-jax import --model={file} --preset=NAME --activation=NAME" in err


def test_names_of_settings_are_said_as_they_are_set():
    for prefix, said in (("--", "--preset=a"), ("model.", "model.preset=a")):
        with (
            pytest.raises(UserError, match=rf"^flag: {said}, data\.preset=b$"),
            said_by("flag", prefix),
        ):
            raise UserError("preset=a, data.preset=b")


@pytest.mark.parametrize("preset, layout", [
    ("vit_nano8", "huggingface"), ("rn_nano", "open_clip"), ("tiny", "native"), ("nano", "native"),
])  # fmt: skip
def test_the_layout_is_the_first_that_can_hold_the_model(preset, layout, tmp_path):
    model = random_model(preset)
    assert layout_for(model.config) == layout
    for name in list(LAYOUTS)[: list(LAYOUTS).index(layout)]:
        with pytest.raises(UserError, match=r"--format=(native|open_clip)"):
            write(model, tmp_path / name, name)


def test_export_of_the_demos_model_ends_well_or_names_the_format(tmp_path, capsys, monkeypatch):
    write(random_model("tiny"), tmp_path / "model", "native")
    export = ["export", f"--model={tmp_path / 'model'}", f"--out={tmp_path / 'out'}"]
    status, err = ended(capsys, monkeypatch, *export, "--format=huggingface")
    assert status == 2 and err.count("\n") == 1 and "--format=native" in err
    assert not (tmp_path / "out").exists()
    status, err = ended(capsys, monkeypatch, *export)
    assert (status, err) == (0, "")
    assert json.loads((tmp_path / "out/model.json").read_text())["image"]["pool"] == "mean"
