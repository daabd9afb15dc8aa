"""Tokenizer files that end the process, take gigabytes, or give ids that the model has not."""

import copy
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from safeclip_jax.data import tokenizer
from safeclip_jax.errors import UserError

TEXTS = ["x" * 40 + " " + "a" * 40 + "! a dog é", "", "y"]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.train(["a red circle"] * 4, 300, 16).save(path)
    return json.loads(path.read_text())


def added(content, number, **changes):
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": content, "special": True, **flags, **changes}


def replace(pattern, content):
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": content}


def split(pattern):
    pattern = {"Regex": pattern}
    return {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}


def put(place, value):
    return lambda c: c.update({place: value})


def vocab(**values):
    return lambda c: c["model"]["vocab"].update(values)


def token(*args, **changes):
    return lambda c: c["added_tokens"].append(added(*args, **changes))


def model(**values):
    return lambda c: c["model"].update(values)


# What is done to a good file, and a word of the refusal: on reading, or at a text.
REFUSED = {
    "an id of 2^32-1": (vocab(zz=2**32 - 1), "not 0 to"),
    "an id of 2^31": (vocab(zz=2**31), "not 0 to"),
    "an id twice": (vocab(zz=3), "not 0 to"),
    "a negative id": (vocab(zz=-1), "not 0 to"),
    "an id of text": (vocab(zz="1"), "no form"),
    "an added id of 2^32-1": (token("qq", 2**32 - 1), "not 0 to"),
    "an empty added token with an id beyond": (token("", 999), "not 0 to"),
    "an added token of 50 MB": (token("x" * 50_000_000, 999), "too long"),
    "a normalized one of 2 kB": (token("x" * 2000, 999, normalized=True), "too long"),
    "100,000 added tokens": (put("added_tokens", [added("q", 1)] * 100_000), "too many"),
    "a number of added tokens": (put("added_tokens", 1), "no form"),
    "no model": (put("model", None), "no form"),
    "a vocabulary that is a list": (model(vocab=[]), "no form|not 0 to|cannot"),
    "merges of unknown tokens": (model(merges=[["nope", "zip"]]), "out of vocabulary"),
    "merges of three": (model(merges=["a b c"]), "cannot be read"),
    "dropout of 2": (model(dropout=2.0), "cannot be read"),
    "a prefix that panics": (model(continuing_subword_prefix="x" * 100), "cannot be read"),
    "WordLevel": (put("model", {"type": "WordLevel", "vocab": {}, "unk_token": "a"}), "BPE"),
    "WordPiece": (put("model", {"type": "WordPiece", "vocab": {}, "unk_token": "a"}), "BPE"),
    "Unigram": (put("model", {"type": "Unigram", "vocab": [["a", 0.0]], "unk_id": 0}), "BPE"),
    "an unknown model": (put("model", {"type": "Evil"}), "BPE"),
    "texts that grow a million times": (
        put("normalizer", {"type": "Sequence", "normalizers": [replace(".", "yyyy")] * 10}),
        "longer",
    ),
    "texts that grow a thousand times": (put("normalizer", replace(".", "y" * 1000)), "longer"),
    "a prefix of 10 MB": (
        put("normalizer", {"type": "Prepend", "prepend": "x" * 10**7}), "Prepend",
    ),
    "a map that aborts": (
        put("normalizer", {"type": "Precompiled", "precompiled_charsmap": "/////w=="}),
        "Precompiled",
    ),
    "a map that panics": (
        put("normalizer", {"type": "Precompiled", "precompiled_charsmap": "AAAAAA=="}),
        "Precompiled",
    ),
    "a pattern without an end": (put("normalizer", replace("(a+)+$", "b")), "fails at a text"),
    "another one": (put("pre_tokenizer", split("(x+x+)+y")), "fails at a text"),
    "a pattern that is none": (put("pre_tokenizer", split("((((")), "cannot be read"),
    "pieces of length 0": (put("pre_tokenizer", {"type": "FixedLength", "length": 0}), "Fixed"),
    "100,000 parts": (
        put(
            "pre_tokenizer",
            {"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}] * 100_000},
        ),
        "100004",
    ),
    "another version": (put("version", "99"), "version"),
}  # fmt: skip
HARMLESS = {
    "padding to 10^15": put(
        "padding",
        {"strategy": {"Fixed": 10**15}, "direction": "Right", "pad_to_multiple_of": None,
         "pad_id": 0, "pad_type_id": 0, "pad_token": "x"},
    ),
    "cutting at 10^15": put(
        "truncation",
        {"direction": "Right", "max_length": 10**15, "strategy": "LongestFirst", "stride": 0},
    ),
    "a template of unknown tokens": put(
        "post_processor",
        {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "no", "type_id": 0}}],
         "pair": [], "special_tokens": {}},
    ),
    "a decoder that cuts": put(
        "decoder", {"type": "Strip", "content": "x", "start": 2**62, "stop": 2**62}
    ),
    "an unknown token that is none": model(unk_token="nope"),
}  # fmt: skip


def encoded(path):
    made = tokenizer.load(path, 16)
    return made, made.encode(TEXTS)


@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_tokenizer_is_refused_in_one_line(good, tmp_path, name):
    change, words = REFUSED[name]
    content = copy.deepcopy(good)
    change(content)
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(UserError) as error:
        encoded(tmp_path / "tokenizer.json")
    assert any(word in str(error.value) for word in words.split("|")), str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", HARMLESS)
def test_what_changes_no_ids_is_read(good, tmp_path, name):
    (tmp_path / "good.json").write_text(json.dumps(good))
    content = copy.deepcopy(good)
    HARMLESS[name](content)
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    made, ids = encoded(tmp_path / "tokenizer.json")
    assert ids.max() < made.vocab_size
    assert ids.tolist() == encoded(tmp_path / "good.json")[1].tolist()


@pytest.mark.parametrize("content", ["", "[]", "[" * 100_000, "null", '{"model": 1}', "\ud800"])
def test_what_is_no_tokenizer_is_refused(tmp_path, content):
    (tmp_path / "tokenizer.json").write_bytes(content.encode(errors="surrogatepass"))
    with pytest.raises(UserError, match=r"tokenizer\.json cannot be read"):
        tokenizer.load(tmp_path / "tokenizer.json", 16)


def test_a_file_of_gigabytes_is_not_read(tmp_path):
    with (tmp_path / "tokenizer.json").open("wb") as file:
        file.truncate(2**36)
    with pytest.raises(UserError, match="more than 64 MiB"):
        tokenizer.load(tmp_path / "tokenizer.json", 16)


CHILD = """
import resource, sys
from pathlib import Path
from safeclip_jax.data import tokenizer
from safeclip_jax.errors import UserError
taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + 2**30, -1))
for path in sys.argv[1:]:
    try:
        tokenizer.load(Path(path), 16).encode(["x" * 100])
    except UserError:
        print("refused")
"""
ABORTS = ("an added token of 50 MB", "texts that grow a thousand times", "a prefix of 10 MB",
          "a map that aborts")  # fmt: skip


def test_where_memory_is_scarce_no_tokenizer_ends_the_process(good, tmp_path):
    paths = []
    for number, name in enumerate(ABORTS):
        content = copy.deepcopy(good)
        REFUSED[name][0](content)
        paths.append(tmp_path / f"{number}.json")
        paths[-1].write_text(json.dumps(content))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CHILD), *map(str, paths)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-500:]
    assert done.stdout.split() == ["refused"] * len(ABORTS)
