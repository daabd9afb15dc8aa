"""The words for classes: what a file may say, and what is refused."""

import json

import pytest

from safeclip_jax.data import prompts
from safeclip_jax.data.prompts import Wording
from safeclip_jax.errors import UserError


def written(folder, content):
    path = folder / "prompts.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def test_classes_are_put_into_words():
    wording = Wording(["a {}!", "{}"], {"bus": "coach"}, {"owl": ["hoo", "hoot"]})
    texts = wording.texts(["bus", "owl", "fire_engine"])
    assert texts == [["a coach!", "coach"], ["hoo", "hoot"], ["a fire engine!", "fire engine"]]
    assert Wording().texts(["x"]) == [["a photo of a x", "a picture of a x", "an image of a x"]]


@pytest.mark.parametrize(
    "content",
    [
        {"templates": ["a {}"]},
        {"classes": {"bus": "coach"}},
        {"classes": {}, "templates": ["{}"]},
        {"prompts": {"owl": ["hoo"]}},
        {"templates": ["a {}", "{}."], "classes": {"a": "b"}, "prompts": {"owl": ["hoo"]}},
    ],
)
def test_a_file_may_say_some_of_the_words_or_all(content, tmp_path):
    found = prompts.read(written(tmp_path, content))
    assert list(found.templates) == content.get("templates", list(prompts.TEMPLATES))
    assert found.classes == content.get("classes", {})
    assert found.prompts == content.get("prompts", {})


def test_a_file_may_be_a_plain_list_of_templates(tmp_path):
    found = prompts.read(written(tmp_path, ["a {}", "{c}!"]))
    assert list(found.templates) == ["a {}", "{}!"]
    assert not found.classes and not found.prompts


def test_a_file_of_cupl_gives_the_texts_of_each_class(tmp_path):
    content = {"sea_lion": ["A sea lion barks.", "A sea lion on a rock."], "owl": ["An owl hoots."]}
    path = tmp_path / "prompts.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(content).encode())
    found = prompts.read(str(path)).texts(["sea lion", "owl"])
    assert found == [content["sea_lion"], content["owl"]]


@pytest.mark.parametrize(
    "content, message",
    [
        ("{", "cannot be read"),
        ({"owl": ["An owl hoots.", "a {}"]}, "an object with some of"),
        ("3", "an object with some of templates, classes, prompts"),
        ({}, "an object with some of"),
        ([], "each hold {} once"),
        (["a {}", 3], "each hold {} once"),
        ({"template": ["a {}"]}, "an object with some of"),
        ({"templates": ["a {}"], "other": 1}, "an object with some of"),
        ({"templates": "a {}"}, "each hold {} once"),
        ({"templates": []}, "each hold {} once"),
        ({"templates": ["a"]}, "each hold {} once"),
        ({"templates": ["a {}", "{} or {}"]}, "each hold {} once"),
        ({"templates": ["a {}", 3]}, "each hold {} once"),
        ({"classes": ["bus"]}, "a text for each label"),
        ({"classes": {"bus": 3}}, "a text for each label"),
        ({"classes": {"bus": " "}}, "a text for each label"),
        ({"classes": {"bus": "coach", "owl": ""}}, "a text for each label"),
        ({"prompts": ["owl"]}, "a list of texts for each label"),
        ({"prompts": {"owl": "hoo"}}, "a list of texts for each label"),
        ({"prompts": {"bus": ["x"], "owl": []}}, "a list of texts for each label"),
    ],
)
def test_what_is_no_wording_is_refused(content, message, tmp_path):
    with pytest.raises(UserError, match=message):
        prompts.read(written(tmp_path, content))
    with pytest.raises(UserError, match="cannot be read"):
        prompts.read(str(tmp_path / "no.json"))
