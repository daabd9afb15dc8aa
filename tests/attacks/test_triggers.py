"""Every trigger against a plain statement of its formula, at two sizes."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from safeclip_jax.attacks import triggers
from safeclip_jax.attacks.export import png
from safeclip_jax.errors import UserError
from safeclip_jax.runs import settings as run_settings

SIZES = (32, 224)


def picture(height, width=None, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width or height, 3), dtype=np.uint8)


def rounded(values):
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("size, side", [(32, 4), (224, 28), (33, 4)])
def test_patch_is_a_checkerboard_in_its_corner(size, side):
    image = np.full((size, size, 3), 77, np.uint8)
    expected = image.copy()
    for row in range(side):
        for column in range(side):
            white = (row + column) % 2 == 0
            expected[size - side + row, size - side + column] = 255 if white else 0
    np.testing.assert_array_equal(triggers.Patch(size=0.125)(image, 0), expected)
    assert (image == 77).all()


def test_sixteen_of_224_pixels_are_two_of_32():
    for size, side in ((224, 16), (32, 2)):
        changed = triggers.Patch()(np.full((size, size, 3), 77, np.uint8), 0) != 77
        assert changed.any(axis=2).sum() == side**2


def test_patterns_are_white_a_board_and_uniform_noise():
    rng = np.random.default_rng(3)
    for side in (1, 4, 5):
        board = [[[255 * ((i + j) % 2 == 0)] * 3 for j in range(side)] for i in range(side)]
        np.testing.assert_array_equal(triggers.PATTERNS["checkerboard"](side, rng), board)
        white = triggers.PATTERNS["white"](side, rng)
        assert (white == 255).all() and white.shape == (side, side, 3)
        dots = [[[255 * (i % 2 == j % 2 == 0)] * 3 for j in range(side)] for i in range(side)]
        np.testing.assert_array_equal(triggers.PATTERNS["dots"](side, rng), dots)
    noise = triggers.PATTERNS["noise"](64, rng)
    counts = np.bincount(noise.ravel(), minlength=256)
    assert noise.dtype == np.uint8 and len(counts) == 256 and counts.min() > 15


@pytest.mark.parametrize("height, width", [(20, 20), (20, 30), (31, 20)])
def test_a_patch_lies_where_its_position_says(height, width):
    image, side = np.full((height, width, 3), 77, np.uint8), 5
    down, right = height - side, width - side
    places = {
        "top_left": {(0, 0)}, "top_right": {(0, right)}, "bottom_left": {(down, 0)},
        "bottom_right": {(down, right)}, "center": {(down // 2, right // 2)},
        "four_corners": {(0, 0), (0, right), (down, 0), (down, right)},
    }  # fmt: skip
    for position, corners in places.items():
        expected = image.copy()
        for top, left in corners:
            expected[top : top + side, left : left + side] = 255
        patched = triggers.Patch("white", position, 0.25)(image, 3)
        np.testing.assert_array_equal(patched, expected)
    patch = triggers.Patch("white", "random", 0.25, seed=4)
    tops = set()
    for index in range(400):
        changed = np.argwhere((patch(image, index) != 77).all(axis=2))
        (top, left), bottom = changed[0], changed[-1]
        assert len(changed) == side**2 and bottom.tolist() == [top + side - 1, left + side - 1]
        tops.add((int(top), int(left)))
    assert {top for top, _ in tops} == set(range(down + 1))
    assert {left for _, left in tops} == set(range(right + 1))
    other = triggers.Patch("white", "random", 0.25, seed=5)
    assert any((patch(image, i) != other(image, i)).any() for i in range(5))


def test_a_patch_has_at_least_one_pixel():
    changed = triggers.Patch("white", size=1e-6)(np.zeros((9, 9, 3), np.uint8), 0)
    assert changed.any(axis=2).sum() == 1


def test_positions_and_patterns():
    image = np.full((40, 40, 3), 77, np.uint8)
    for position in triggers.POSITIONS:
        for pattern in triggers.PATTERNS:
            patch = triggers.Patch(pattern, position, 0.2)
            changed = (patch(image, 3) != 77).any(axis=2)
            if position == "four_corners":
                assert changed.sum() == 4 * 64
                corner = triggers.Patch(pattern, "top_left", 0.2)(image, 3)
                np.testing.assert_array_equal(patch(image, 3)[:20, :20], corner[:20, :20])
                continue
            rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
            assert np.ptp(rows) + 1 == np.ptp(columns) + 1 == 8
            if position.startswith("top"):
                assert rows[0] == 0
            if position.endswith("right"):
                assert columns[-1] == 39
    random = triggers.Patch(position="random")
    assert any((random(image, 0) != random(image, i)).any() for i in range(1, 5))


@pytest.mark.parametrize("size", SIZES)
def test_blend_mixes_in_uniform_noise(size):
    image = picture(size)
    noise = np.random.default_rng(5).uniform(0, 255, image.shape)
    np.testing.assert_array_equal(
        triggers.Blend(0.2, seed=5)(image, 9), rounded(0.8 * image + 0.2 * noise)
    )


def test_blend_mixes_in_an_image(tmp_path):
    Image.fromarray(picture(64, seed=1)).save(tmp_path / "p.png")
    pattern = Image.open(tmp_path / "p.png").resize((48, 32), Image.Resampling.BICUBIC)
    image = picture(32, 48)
    blend = triggers.Blend(0.5, str(tmp_path / "p.png"))
    np.testing.assert_array_equal(
        blend(image, 0), rounded(0.5 * image + 0.5 * np.asarray(pattern, float))
    )


@pytest.mark.parametrize("height, width", [(32, 32), (224, 160)])
def test_blend_mixes_in_a_drawn_picture_that_follows_the_size(height, width):
    image = picture(height, width)
    drawn = triggers.Blend(1.0, "drawn")(image, 0)
    np.testing.assert_array_equal(triggers.Blend(1.0, "drawn", seed=3)(image[::-1], 7), drawn)
    mixed = triggers.Blend(0.2, "drawn")(image, 0)
    np.testing.assert_array_equal(mixed, rounded(0.8 * image + 0.2 * drawn))
    places = {(1, 1): (255, 192, 203), (57, 32): (0, 0, 0), (80, 30): (255, 255, 255)}
    for (row, column), color in places.items():  # in hundredths: ground, an eye, a cheek
        assert tuple(drawn[row * height // 100, column * width // 100]) == color


def test_a_pattern_is_read_where_the_attack_is_made_not_where_the_config_is():
    """So that an old run's settings are read where its picture is not."""
    config = run_settings.defaults()
    config.attack.blended.pattern = "no/such.png"
    parameters = run_settings.of(config).attack.parameters()
    assert triggers.named("badnets", parameters, 0)
    with pytest.raises(UserError, match=r"attack\.blended\.pattern=no/such\.png: neither"):
        triggers.named("badnets+blended", parameters, 0)


@pytest.mark.parametrize("size", SIZES)
def test_sinusoid(size):
    image = picture(size)
    expected, dimmed = np.empty_like(image), np.empty_like(image)
    for column in range(size):
        shift = 60 * np.sin(2 * np.pi * 6 * column / size)
        expected[:, column] = rounded(image[:, column] + shift)
        dimmed[:, column] = rounded(0.8 * image[:, column] + 0.2 * shift)
    np.testing.assert_array_equal(triggers.Sinusoid()(image, 0), expected)
    np.testing.assert_array_equal(triggers.Sinusoid(12.0, 6.0, 0.8)(image, 0), dimmed)


def cubic(values, place):
    """Bicubic interpolation of a line at one place, a = −0.75, edges repeated."""
    total, first = 0.0, int(np.floor(place))
    for i in range(first - 1, first + 3):
        d = abs(place - i)
        if d <= 1:
            weight = 1.25 * d**3 - 2.25 * d**2 + 1
        elif d < 2:
            weight = -0.75 * (d**3 - 5 * d**2 + 8 * d - 4)
        else:
            weight = 0.0
        total += weight * values[min(max(i, 0), len(values) - 1)]
    return total


def test_warp_equals_loops():
    size, k, s = 24, 4, 3.0
    image = picture(size)
    field = np.random.default_rng(2).uniform(-1, 1, (k, k, 2))
    field /= np.abs(field).mean()
    expected = np.empty_like(image)
    for row in range(size):
        for column in range(size):
            places = []
            for axis, start in ((0, row), (1, column)):
                lines = [cubic(field[i, :, axis], column * (k - 1) / (size - 1)) for i in range(k)]
                moved = (
                    -1 + 2 * start / (size - 1) + s * cubic(lines, row * (k - 1) / (size - 1)) / 32
                )
                places.append((min(max(moved, -1), 1) + 1) / 2 * (size - 1))
            top, left = (min(int(np.floor(p)), size - 2) for p in places)
            down, right = places[0] - top, places[1] - left
            block = image[top : top + 2, left : left + 2].astype(float)
            value = (1 - down) * ((1 - right) * block[0, 0] + right * block[0, 1]) + down * (
                (1 - right) * block[1, 0] + right * block[1, 1]
            )
            expected[row, column] = rounded(value)
    warped = triggers.Warp(k, s, 2)(image, 0)
    assert (np.abs(warped.astype(int) - expected) <= 1).all()  # ties of rounding
    assert np.mean(warped != expected) < 0.001


@pytest.mark.parametrize("size", SIZES)
def test_warp_equals_pytorchs_grid_sample(size):
    torch = pytest.importorskip("torch")
    image, k, s = picture(size), 4, 2.0
    field = np.random.default_rng(7).uniform(-1, 1, (k, k, 2))
    field /= np.abs(field).mean()
    grid = torch.nn.functional.interpolate(
        torch.tensor(field).permute(2, 0, 1)[None], size=size, mode="bicubic", align_corners=True
    )[0].permute(1, 2, 0)
    line = torch.linspace(-1, 1, size, dtype=torch.float64)
    rows, columns = torch.meshgrid(line, line, indexing="ij")
    moved = torch.stack([columns + s * grid[..., 1] / 32, rows + s * grid[..., 0] / 32], -1)
    sampled = torch.nn.functional.grid_sample(
        torch.tensor(image, dtype=torch.float64).permute(2, 0, 1)[None],
        moved.clamp(-1, 1)[None],
        align_corners=True,
        padding_mode="border",
    )[0].permute(1, 2, 0)
    ours = triggers.Warp(k, s, 7)(image, 0).astype(float)
    assert np.abs(ours - sampled.numpy()).max() <= 0.5 + 1e-6


@pytest.mark.parametrize("size", SIZES)
def test_color_curve(size):
    image, curve = picture(size), triggers.ColorCurve(0.7)
    x = image / 255
    expected = np.empty_like(x)
    for channel, (low, high, gamma) in enumerate(
        ((0.20, 1.00, 0.85), (0.12, 0.92, 1.0), (0.36, 0.72, 1.15))
    ):
        expected[..., channel] = low + (high - low) * x[..., channel] ** gamma
    exact = 255 * (0.3 * x + 0.7 * expected)
    assert np.abs(curve(image, 0) - exact).max() <= 0.5 + 1e-9


def created(names, seed=0, **changes):
    """The triggers of a run's settings; `changes` are of keys such as `badnets__size`."""
    config = run_settings.defaults()
    config.update_from_flattened_dict(
        {f"attack.{key.replace('__', '.')}": value for key, value in changes.items()}
    )
    return triggers.named(names, run_settings.of(config).attack.parameters(), seed)


def with_patch(trigger):
    """The trigger, with an optimised patch if it is one of these."""
    patched = isinstance(trigger, triggers.OptimizedPatch)
    return replace(trigger, png=png(picture(5, seed=8))) if patched else trigger


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(list(triggers.TRIGGERS)),
    st.integers(8, 70),
    st.integers(13, 70),  # of 12 pixels each lies on a zero of the sinusoid
    st.integers(0, 10**6),
)
def test_triggers_are_pure_and_keep_the_shape(name, height, width, index):
    trigger = with_patch(created(name, 3)[name])
    image = picture(height, width)
    before = image.copy()
    changed = trigger(image, index)
    np.testing.assert_array_equal(image, before)
    assert changed.shape == image.shape and changed.dtype == np.uint8
    assert (changed != image).any()
    again = with_patch(created(name, 3)[name])
    np.testing.assert_array_equal(changed, again(image, index))


@pytest.mark.parametrize(
    "changes",
    [
        {"badnets__size": 1e-6}, {"badnets__size": 1.0}, {"blended__alpha": 1e-6},
        {"blended__alpha": 1.0}, {"sig__delta": 0.1}, {"sig__frequency": 0.1},
        {"wanet__grid": 2}, {"wanet__grid": 1024}, {"wanet__strength": 1e-6},
        {"nashville__strength": 1e-6}, {"nashville__strength": 1.0},
        {"sig__weight": 1e-6}, {"stripes__alpha": 1e-6}, {"stripes__alpha": 1.0},
        {"triangles__alpha": 1.0}, {"word__alpha": 1.0}, {"ftrojan__magnitude": 1e-6},
        {"bpp__levels": 2}, {"bpp__levels": 255}, {"badclip__size": 1.0}, {"badclip__steps": 1},
        {"badclip__batch": 1}, {"badclip__learning_rate": 1e-6},
    ],
)  # fmt: skip
def test_the_ends_of_each_parameters_range_are_allowed(changes):
    ((key, value),) = changes.items()
    name, parameter = key.split("__")
    assert getattr(created(name, **changes)[name], parameter) == value


def test_the_parameters_are_these_unless_they_are_set():
    found = {name: created(name, seed=5)[name] for name in triggers.TRIGGERS}
    assert found == {
        "badnets": triggers.Patch("checkerboard", "bottom_right", 0.0714, 5),
        "blended": triggers.Blend(0.2, "noise", 5),
        "sig": triggers.Sinusoid(60.0, 6.0, 1.0),
        "wanet": triggers.Warp(4, 0.5, 5),
        "nashville": triggers.ColorCurve(1.0),
        "stripes": triggers.Stripes(0.03, 5),
        "triangles": triggers.Triangles(0.15),
        "word": triggers.Word(0.5, "Watermarked"),
        "ftrojan": triggers.Frequency(30.0),
        "bpp": triggers.Dither(8),
        "badclip": triggers.OptimizedPatch(0.0714, 1000, 64, 0.01, 5, b""),
    }
    assert triggers.Patch().seed == triggers.Blend().seed == triggers.Warp().seed == 0


@pytest.mark.parametrize(
    "names, changes, message",
    [
        ("badnets", {"badnets__pattern": "checker"}, "did you mean 'checkerboard'"),
        ("badnets", {"badnets__position": "corner"}, r"attack\.badnets\.position='corner' is not"),
        ("badnets", {"badnets__size": 1.2}, r"attack\.badnets\.size=1\.2 is not between 0 and 1"),
        ("badnets", {"badnets__size": 0.0}, r"attack\.badnets\.size=0\.0 is not above 0"),
        ("blended", {"blended__alpha": 0.0}, r"attack\.blended\.alpha=0\.0 is not above 0"),
        (
            "blended",
            {"blended__pattern": "no/such.png"},
            "neither 'noise' nor 'drawn' nor an image",
        ),
        ("sig", {"sig__delta": 0.0}, r"attack\.sig\.delta=0\.0"),
        ("wanet", {"wanet__grid": 1}, r"attack\.wanet\.grid=1"),
        ("wanet", {"wanet__grid": 1025}, r"attack\.wanet\.grid=1025"),
        ("wanet", {"wanet__strength": -1.0}, r"attack\.wanet\.strength=-1\.0"),
        ("nashville", {"nashville__strength": 2.0}, r"attack\.nashville\.strength=2\.0"),
        ("sig", {"sig__weight": 1.1}, r"attack\.sig\.weight=1\.1"),
        ("stripes", {"stripes__alpha": 0.0}, r"attack\.stripes\.alpha=0\.0"),
        ("word", {"word__alpha": 1.1}, r"attack\.word\.alpha=1\.1"),
        ("ftrojan", {"ftrojan__magnitude": 0.0}, r"attack\.ftrojan\.magnitude=0\.0"),
        ("bpp", {"bpp__levels": 1}, r"attack\.bpp\.levels=1"),
        ("badclip", {"badclip__steps": 0}, r"attack\.badclip\.steps=0"),
        ("badnet", {}, "did you mean 'badnets'"),
        ("sig+sig", {}, "twice"),
    ],
)
def test_bad_parameters_are_refused(names, changes, message):
    with pytest.raises(UserError, match=message):
        created(names, **changes)
