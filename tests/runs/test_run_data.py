"""What a stranger's config names is opened only if the user says so."""

import json
from dataclasses import replace

import pytest

import safeclip_jax
from safeclip_jax.commands import audit, evaluate
from safeclip_jax.data.sources import KINDS
from safeclip_jax.errors import UserError
from safeclip_jax.runs import run_data, settings
from tests.support.untrained import untrained

NAMED = {
    "data.source": "csv:/etc/passwd",
    "data.mix": [{"source": "coco:http://evil.example/x.json"}, {"source": "scenes"}],
    "evaluate.source": "webdataset:s3://evil/{0..9}.tar",
    "evaluate.also": ["folder:/"],
    "evaluate.learn": "tfds:evil",
    "evaluate.prompts": "/etc/x.json",
    "attack.surrogate": "/evil",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    config = safeclip_jax.config("audit")
    config.data.pairs, config.epochs, config.defense = 128, 1, "none"
    untrained(config, folder)
    return folder


@pytest.fixture
def opened(monkeypatch):
    """The kinds of source that were opened."""
    found = []
    for kind in KINDS:
        noted = replace(KINDS[kind], open=lambda path, options: found.append(path) or 1 / 0)
        monkeypatch.setitem(KINDS, kind, noted)
    return found


def renamed(run, key, value):
    path = run / "config.json"
    good = path.read_text()
    content = json.loads(good)
    section, name = key.split(".")
    content[section][name] = value
    path.write_text(json.dumps(content))
    return good


@pytest.mark.parametrize("key", NAMED)
@pytest.mark.parametrize("command", ["audit", "evaluate"])
def test_what_a_strangers_config_names_is_not_opened(run, key, command, opened, tmp_path):
    good = renamed(run, key, NAMED[key])
    main, flag = (audit.main, "--run") if command == "audit" else (evaluate.main, "--checkpoint")
    try:
        with pytest.raises(UserError) as error:
            main([flag, str(run), "--out", str(tmp_path)])
        assert key in str(error.value) and "--own-data" in str(error.value) and not opened
        assert "\n" not in str(error.value)
        with pytest.raises(ZeroDivisionError):
            main([flag, str(run), "--out", str(tmp_path), "--own-data"])
    finally:
        (run / "config.json").write_text(good)


def test_drawn_scenes_need_no_word():
    assert run_data.named(settings.of(safeclip_jax.config("demo"))) == []


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"trigger": "sig+wanet", "target": "heart+hart"}, "'hart'.*did you mean 'heart'"),
        ({"kind": "semantic", "attribute": "golden"}, "'golden' is in no caption of evaluate"),
    ],
)
def test_an_attack_that_cannot_be_measured_is_refused(changes, message):
    config = safeclip_jax.config("demo")
    config.evaluate.pairs, config.data.pairs = 40, 60
    config.attack.update(changes)
    pairs = run_data.training_pairs(settings.of(config), None)
    with pytest.raises(UserError, match=message):
        run_data.held_out(settings.of(config), pairs, None)
    if config.attack.kind == "semantic":
        config.evaluate.tasks = ("zero_shot",)
        assert run_data.held_out(settings.of(config), pairs, None) is not None


def test_the_captions_of_each_class_are_counted():
    config = safeclip_jax.config("demo")
    config.evaluate.pairs, config.data.pairs = 40, 60
    pairs = run_data.training_pairs(settings.of(config), None)
    held_out = run_data.held_out(settings.of(config), pairs, None)
    expected = [
        sum(name in text.replace(",", " ").split() for text in pairs.captions)
        for name in held_out.class_names
    ]
    assert held_out.mentioned().tolist() == expected and sum(expected) == 60
