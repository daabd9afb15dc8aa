"""The settings of a run: a default once, old files, gone keys, and names that users typed."""

import ast
import json
import pickle
from pathlib import Path

import pytest

import safeclip_jax
from safeclip_jax.commands import command_line
from safeclip_jax.defenses import DEFENSES
from safeclip_jax.defenses.published import PublishedSafeCLIP
from safeclip_jax.errors import UserError
from safeclip_jax.runs import old_settings, run_folder, settings

PACKAGE = Path(safeclip_jax.__file__).parent


def values():
    """All values of a run as JSON has them."""
    return json.loads(json.dumps(settings.as_dict(settings.of(settings.defaults()))))


def without(content, name):
    """The same without a key; `name` is a full one."""
    found = json.loads(json.dumps(content))
    *sections, last = name.split(".")
    holder = found
    for part in sections:
        holder = holder[part]
    del holder[last]
    return found


def value(content, name):
    for part in name.split("."):
        content = content[part]
    return content


def test_every_key_says_its_default_its_meaning_and_stands_once():
    assert len(settings.KEYS) > 80
    config = settings.defaults()
    for name, key in settings.KEYS.items():
        assert value(config, name) == key.default or value(config, name) is key.default
        assert key.about and key.name == name
    declared = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Call):
                called = node.value.func
                if isinstance(called, ast.Name) and called.id == "setting":
                    declared.append((path.stem, node.target.id))
    inherited = {key for key in settings.KEYS if key.startswith("published.")} - {
        f"published.{name}" for name in PublishedSafeCLIP.__annotations__
    }
    assert len(declared) == len(settings.KEYS) - len(inherited)


@pytest.mark.parametrize(
    "name", ["seed", "data.seed", "model.scan", "safeclip_plus.cap", "score.kind"]
)
def test_a_key_that_an_old_config_lacks_takes_its_default(name):
    read = settings.read(without(values(), name))
    assert settings.as_dict(read) == settings.as_dict(settings.read(values()))


def test_a_section_that_an_old_config_lacks_takes_its_defaults():
    content = {"data": {}, "model": {}, "defense": "none"}
    run = settings.of(settings.defaults())
    assert settings.as_dict(settings.read(content)) == settings.as_dict(run) | {"defense": "none"}


@pytest.mark.parametrize("name", sorted(old_settings.GONE))
def test_a_key_that_is_gone_is_refused_with_what_replaced_it_unless_nothing_changes(name):
    kept, instead = old_settings.GONE[name]
    section, _, _ = name.partition(".")
    defense = section if section in DEFENSES else "safeclip"
    for given in (*kept, "something else"):
        content = values() | {"defense": defense}
        *sections, last = name.split(".")
        holder = content
        for part in sections:
            holder = holder[part]
        holder[last] = given
        if given in kept:
            assert settings.read(content).defense == defense
        else:
            with pytest.raises(UserError) as error:
                settings.read(content)
            assert str(error.value) == f"{name}={given!r} is gone: {instead}"
    assert instead in settings.unknown_key(name)


def test_another_defences_gone_keys_do_not_matter():
    content = values() | {"defense": "none"}
    content["safeclip"]["fence"] = 3.0
    assert settings.read(content).defense == "none"


@pytest.mark.parametrize("old, new", sorted(old_settings.RENAMED.items()))
def test_a_key_that_was_renamed_is_read_by_its_old_name(old, new):
    content = without(values(), new)
    section, _, last = old.rpartition(".")
    changed = 2 if settings.KEYS[new].kind is int else 0.25
    content[section][last] = changed
    assert value(settings.as_dict(settings.read(content)), new) == changed
    assert settings.unknown_key(old) == f"config key {old!r} is {new!r} now"


def test_a_key_that_came_later_means_what_runs_did_before_it():
    content = without(values(), "published.augmented_scores")
    assert not settings.read(content).published.augmented_scores
    assert settings.read(values()).published.augmented_scores
    assert settings.read({"defense": "published"}).published.augmented_scores


def test_remat_was_once_true_or_false():
    content = values()
    for old, new in ((False, "none"), (True, "blocks")):
        content["model"]["remat"] = old
        assert settings.read(content).model.remat == new
    for other in ([], {}, 1):
        content["model"]["remat"] = other
        with pytest.raises(UserError, match=r"model\.remat"):
            settings.read(content)


def test_settings_are_written_and_read_again(tmp_path):
    config = safeclip_jax.config("demo")
    config.data.mix = ({"source": "csv:a", "weight": 2},)
    run = settings.of(config)
    run_folder.claim(tmp_path, run)
    assert run_folder.read(tmp_path) == run
    assert settings.of(settings.as_config(run)) == run
    assert pickle.loads(pickle.dumps(run)) == run  # to the processes of a grid


@pytest.mark.parametrize(
    "flag, message",
    [
        ("--config.safeclip_plus.cap=2", "safeclip_plus.cap=2.0 is not between 0 and 1"),
        ("--config.safeclip_plus.growth=1", "safeclip_plus.growth=1.0: exceeds cap=0.99"),
        ("--config.safeclip.growth=1", "safeclip.growth=1.0: exceeds cap=0.85"),
        ("--config.attack.wanet.grid=1", "attack.wanet.grid=1 is not between 2 and 1024"),
        ("--config.score.kind=cosin", "score.kind='cosin' is not one of cosine, relative, typical"),
        ("--config.data.part=(1,0)", "data.part=(1.0, 0.0) is not two rising shares between 0"),
        ("--config.augment.jitter=2", "augment.jitter=2.0 is not between 0 and 1"),
        ("--config.model.remat=all", "model.remat='all' is not one of none, products, blocks"),
        ("--config.score.view=augmented", "config key 'score.view' is gone"),
        ("--config.attack.badnets.margin=0.1", "config key 'attack.badnets.margin' is gone"),
        ("--config.safeclip_plus.fence=1", "'safeclip_plus.fence' is 'safeclip_plus.outlier_iqr'"),
        (
            "--config.cap=1",
            "'safeclip.cap' or 'safeclip_plus.cap' or 'published.cap'?",
        ),
    ],
)
def test_an_error_names_the_key_that_the_user_typed(flag, message):
    parser = command_line.parser("train", "", "")
    parser.add_argument("--config")
    with pytest.raises(UserError) as error:
        settings.of(command_line.parse(parser, ["--config=demo", flag])[1].read())
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "arguments",
    [["--config.seed=3"], ["--config.seed", "3"], ["-config.seed=3"]],
    ids=" ".join,
)
def test_a_change_is_written_as_flags_are(arguments):
    parser = command_line.parser("train", "", "")
    parser.add_argument("--config")
    _, given = command_line.parse(parser, ["--config", "demo", *arguments])
    assert given.text == "demo" and given.changes == [("seed", "3")]
    assert given.read().seed == 3
    with pytest.raises(UserError, match=r"needs a value: --config.seed=VALUE"):
        command_line.parse(parser, ["--config=demo", "--config.seed"])
