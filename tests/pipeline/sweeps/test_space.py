"""The search space: how it is written, what is refused, and what its points become."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from msa.heads.registry import HEADS, fusion_names
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.config.train_config import TrainConfig
from msa.pipeline.sweeps.space import Range, Space, apply_point, read_space


def space(*settings: str, fusion: str = "", file: Path | None = None) -> Space:
    return read_space(settings, fusion=fusion, file=file)


def test_ranges_and_choices() -> None:
    found = space("lr=1e-4..3e-3", "dropout=0.1..0.6", "hidden=64,128", "epochs=5..9", "tune-thresholds=true,false")
    assert found.names == {
        "lr": Range(1e-4, 3e-3, whole=False),
        "dropout": Range(0.1, 0.6, whole=False),
        "hidden": (64, 128),
        "epochs": Range(5, 9, whole=True),
        "tune_thresholds": (True, False),
    }
    rates, drops = found.names["lr"], found.names["dropout"]
    assert isinstance(rates, Range)
    assert isinstance(drops, Range)
    assert (rates.log, drops.log) == (True, False)
    assert rates.at(0.5) == pytest.approx(math.sqrt(1e-4 * 3e-3))
    assert drops.at(0.5) == pytest.approx(0.35)


@pytest.mark.parametrize(("low", "high"), [(5, 9), (1, 64)])
def test_whole_numbers_stay_whole_and_both_ends_are_met(low: int, high: int) -> None:
    found = Range(low, high, whole=True)
    values = [found.at(number / 2000) for number in range(2000)]
    assert all(isinstance(value, int) for value in values)
    assert set(values) == set(range(low, high + 1))
    assert values == sorted(values)


def test_a_grid_gives_each_head_its_own_options() -> None:
    found = space("hidden=8,16", "rank=2,4", fusion="concat,bilinear")
    assert found.grid("attention") == [
        {"fusion": "concat", "hidden": 8},
        {"fusion": "concat", "hidden": 16},
        *({"fusion": "bilinear", "hidden": hidden, "rank": rank} for hidden in (8, 16) for rank in (2, 4)),
    ]
    assert space("hidden=8").grid("gated") == [{"fusion": "gated", "hidden": 8}]
    with pytest.raises(ValueError, match=r"a grid wants choices, as --set lr=0.0001,0.003"):
        space("lr=1e-4..3e-3").grid("gated")


def test_all_heads_and_encoders() -> None:
    found = read_space(["hidden=8"], fusion="all,text,image", image=["a,b", "c"], text=["d+e"], file=None)
    assert found.names["fusion"] == tuple(HEADS)
    assert (found.names["image"], found.names["text"]) == (("a", "b", "c"), ("d+e",))


def test_groups_of_heads() -> None:
    assert space(fusion="all-tokens,concat").names["fusion"] == (*fusion_names("all-tokens"), "concat")


def test_a_file_says_the_same_and_flags_win(tmp_path: Path) -> None:
    file = tmp_path / "space.toml"
    file.write_text('lr = "1e-4..3e-3"\nhidden = [64, 128]\nfusion = ["concat", "gated"]\nweight-decay = 0.01\n')
    found = space("hidden=8", file=file)
    assert found.names == {
        "lr": Range(1e-4, 3e-3, whole=False),
        "hidden": (8,),
        "fusion": ("concat", "gated"),
        "weight_decay": (0.01,),
    }


def test_a_name_that_a_head_and_training_share_is_the_heads() -> None:
    svc, of_loss = "estimator:sklearn.svm.SVC", {"gamma": 0.5}
    for fusion in (svc, "kernel"):
        head, training = apply_point(of_loss, HeadConfig(fusion), TrainConfig())
        assert (head.options["gamma"], training.gamma) == (0.5, TrainConfig().gamma)
    head, training = apply_point(of_loss, HeadConfig("gated"), TrainConfig())
    assert ("gamma" in head.options, training.gamma) == (False, 0.5)


def test_a_point_becomes_settings() -> None:
    head = HeadConfig("coattention", options={"layers": 2}, dropout=0.1)
    point = {"fusion": "bilinear", "rank": 4, "hidden": 8, "lr": 1e-2, "token_width": 0, "patches": "2x2", "image": "x"}
    config, training = apply_point(point, head, TrainConfig(epochs=7))
    assert config == HeadConfig(
        "bilinear", hidden=8, dropout=0.1, patches=(2, 2), token_width=None, options={"rank": 4}
    )
    assert training == TrainConfig(epochs=7, lr=1e-2)


@pytest.mark.parametrize(
    ("settings", "fusion", "message"),
    [
        (["lrr=1,2"], "", "unknown setting 'lrr' in the search space; did you mean lr"),
        (["rank=1,2"], "concat", "unknown setting 'rank'"),
        (["lr"], "", "--set wants NAME=LOW..HIGH or NAME=A,B,…; got 'lr'"),
        (["lr=3e-3..1e-4"], "", r"range of lr must rise, as 1..9; got 3e-3..1e-4"),
        (["lr=fast,slow"], "", "lr must be a number; got 'fast'"),
        (["hidden=1.5,2"], "", "hidden must be a whole number; got 1.5"),
        (["hidden=0.5..2"], "", "hidden has no range"),
        (["loss=1..2"], "", "loss has no range"),
        (["loss=hinge"], "", "loss must be one of cross-entropy, focal, emd"),
        (["lr=1,,2"], "", "choices of lr must be there and differ"),
        (["hidden=8,8"], "", "choices of hidden must be there and differ"),
        (["epochs=0,2"], "", "epochs must be from 1"),
        (["hidden=1..99999999999"], "", "hidden must be from 1 to"),
        ([], "concatt", "did you mean concat"),
        (["positions=banana,none"], "attention,mult", "positions must be .*; got 'banana'"),
        (["layers=two,1"], "", "option layers of head 'concat' must be a whole number, as 1; got 'two'"),
        (["ridge=true"], "kernel", "option ridge of head 'kernel' must be a number, as 0.3; got True"),
    ],
)
def test_what_cannot_be_searched_is_refused(settings: list[str], fusion: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        space(*settings, fusion=fusion)


@pytest.mark.parametrize("content", ["lr = ", "[space]\nlr = 1\n"])
def test_a_broken_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "space.toml").write_text(content)
    with pytest.raises(ValueError, match=r"space\.toml"):
        space(file=tmp_path / "space.toml")
