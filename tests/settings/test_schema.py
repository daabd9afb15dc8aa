"""Sections of settings: read, checked, described, whatever run they belong to."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safeclip_jax.errors import UserError
from safeclip_jax.settings import schema, values
from safeclip_jax.settings.fields import SettingError, at_least, one_of, section, setting


@dataclasses.dataclass(frozen=True)
class Inner:
    """A section in a section."""

    share: float = setting(0.5, "of the cake", at_least(0))
    seed: int | None = setting(None, "of the draw")
    names: tuple[str, ...] = setting((), "of the guests")
    unseen: int = 3  # no setting

    def __post_init__(self):
        if self.share > 1:
            raise SettingError("share", "is more than there is")


@dataclasses.dataclass(frozen=True)
class Outer:
    """What a program reads."""

    kind: str = setting("round", "of cake", one_of(("round", "square")))
    inner: Inner = section(Inner)


def test_what_is_not_given_has_its_default():
    assert schema.read(Outer, {}) == Outer()
    assert schema.read(Outer, {"inner": {"share": 1}}).inner == Inner(share=1.0)
    names = [key.name for key in schema.keys(Outer)]
    assert names == ["kind", "inner.share", "inner.seed", "inner.names"]
    assert next(schema.keys(Outer)).meaning == "of cake: round, square"


def test_a_config_has_all_settings_and_no_others():
    config = schema.as_config(Outer)
    config.inner.seed, config.inner.names = 7, ("a", "b")
    read = schema.read(Outer, config.to_dict())
    assert read == Outer(inner=Inner(seed=7, names=("a", "b")))
    assert schema.as_dict(read)["inner"] == {"share": 0.5, "seed": 7, "names": ("a", "b")}
    with pytest.raises(AttributeError):
        config.inner.sead = 1
    with pytest.raises(TypeError):
        config.inner.share = "much"


@pytest.mark.parametrize(
    "given, message",
    [
        ({"kinds": "round"}, "unknown config key 'kinds': did you mean 'kind'"),
        ({"kind": "rund"}, "kind='rund' is not one of round, square: did you mean 'round'"),
        ({"inner": 3}, "inner is a section of keys, not a value"),
        ({"inner": {"shore": 3}}, "unknown config key 'inner.shore': did you mean 'share'"),
        ({"inner": {"unseen": 3}}, "unknown config key 'inner.unseen'"),
        ({"inner": {"share": -1}}, "inner.share=-1.0 is not at least 0"),
        ({"inner": {"share": 2}}, "inner.share=2.0: is more than there is"),
        ({"inner": {"share": True}}, "inner.share=True: a number is needed"),
        ({"inner": {"seed": 1.5}}, "inner.seed=1.5: a whole number is needed"),
        ({"inner": {"names": "a"}}, "inner.names='a': several, each a text is needed"),
    ],
)
def test_an_error_names_the_full_key(given, message):
    with pytest.raises(UserError) as error:
        schema.read(Outer, given)
    assert str(error.value).startswith(message)


SINGLE = {
    int: st.integers(),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
}


@given(st.sampled_from(list(SINGLE)).flatmap(lambda k: st.tuples(st.just(k), SINGLE[k])))
def test_a_flag_s_text_means_the_value_that_it_was_printed_from(case):
    kind, value = case
    assert values.parse(kind, str(value)) == value
    assert values.parse(tuple[kind, ...], str((value, value))) == (value, value) or kind is bool
    assert values.parse(kind | None, "None") is None


@pytest.mark.parametrize(
    "kind, text, value",
    [
        (str, "3", "3"),
        (str, "", ""),
        (float, "5e-4", 5e-4),
        (float, "2", 2.0),
        (float, "inf", float("inf")),
        (bool, "false", False),
        (tuple[str, ...], "a,b", ("a", "b")),
        (tuple[str, ...], "('a',)", ("a",)),
        (tuple[float, float], "0,1", (0.0, 1.0)),
        (
            tuple[dict, ...],
            "[{'source': 'csv:a', 'weight': 2}]",
            ({"source": "csv:a", "weight": 2},),
        ),
    ],
)
def test_texts_of_flags(kind, text, value):
    assert values.parse(kind, text) == value


@pytest.mark.parametrize(
    "kind, text, wanted",
    [
        (int, "1.5", "a whole number"),
        (int, "__import__('os')", "a whole number"),
        (float, "much", "a number"),
        (bool, "maybe", "True or False"),
        (tuple[float, float], "1", "2 values, each a number"),
        (tuple[float, float], "(1, 2, 3)", "2 values, each a number"),
        (int | None, "x", "a whole number"),
    ],
)
def test_texts_that_mean_nothing(kind, text, wanted):
    with pytest.raises(TypeError, match=wanted):
        values.parse(kind, text)
