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
