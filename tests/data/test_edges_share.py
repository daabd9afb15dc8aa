"""What is lost is counted, listed and limited in one place."""

import json

import pytest

from safeclip_jax.data import prepare
from safeclip_jax.data.skipped import check
from safeclip_jax.data.sources.mix import sample
from safeclip_jax.data.sources.table import Table
from safeclip_jax.errors import UserError
from tests.support.data_files import write_csv


def half_rejected(folder, rows=20):
    captions = ["" if row % 2 else f"words {row}" for row in range(rows)]
    return Table(write_csv(folder, [(f"{i}.png", text) for i, text in enumerate(captions)]))


def test_rejected_records_count_from_the_start(tmp_path):
    source = half_rejected(tmp_path)
    check(source, 0, 0.5)
    with pytest.raises(UserError, match=r"11 of 20 records.*--most=0\.5.*line 21"):
        check(source, 1, 0.5, name="--most")


def test_of_a_choice_its_part_of_the_rejected_counts(tmp_path):
    source = sample(half_rejected(tmp_path), 2, 0)
    check(source, 0, 0.5)
    with pytest.raises(UserError, match="2 of 4 records"):
        check(source, 0, 0.4)


def test_prepare_without_a_pair_says_why_and_lists_all(tmp_path):
    source = half_rejected(tmp_path / "data", 6)  # none of the images is there
    with pytest.raises(UserError, match=r"no pair can be used \(the last: 4\.png: file is missing"):
        prepare.run(source, tmp_path / "out", max_skipped_share=1.0)
    lines = (tmp_path / "out" / "skipped.jsonl").read_text().splitlines()
    assert len({json.loads(line)["key"] for line in lines}) == 6
