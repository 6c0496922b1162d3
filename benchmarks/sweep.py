"""Claim: a sweep of 256 settings on five folds ends in three minutes on two cores, well before its peers.

    python benchmarks/sweep.py --data DIR --cache DIR [--configs 256] [--full]

One grid for all: 8 learning rates x 8 weight decays x 4 more, heads of 64 on pooled vectors of 1664, batches of 64,
at most 20 epochs, five folds. msa: `concat`, successive halving by three, as is its default: after 2, 4 and 8 epochs,
since heads go on training where they were compared. Peers: GridSearchCV and HalvingGridSearchCV over
MLPClassifier(64) with n_jobs = cores (where a grid needs a fourth setting that MLPClassifier lacks, another of its own
is varied; halving by three, as is its default, trains from the start each time, for 2, 6 and 18 epochs), the same head
in a plain loop one by one, and skorch. Those that try the whole grid are timed on a part of it and extrapolated. With
--full msa trains the whole grid to the end, too, and the outer scores are compared.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from common import DATA, machine
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from msa.features.encoders.runtime import available_cores
from msa.features.posts.layouts import read_corpus
from msa.heads.base import Dims, Inputs
from msa.heads.registry import build_head
from msa.pipeline.config.data_config import DataConfig
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.config.search_config import Search
from msa.pipeline.config.train_config import TrainConfig
from msa.pipeline.data.inputs import build_inputs, dims_of
from msa.pipeline.data.prepare import prepare
from msa.pipeline.data.split import Fold, inner_folds
from msa.pipeline.evaluation.pooled_rows import pooled_matrix
from msa.pipeline.sweeps.space import read_space
from msa.pipeline.sweeps.sweep import sweep

EPOCHS, FOLDS, HIDDEN, BATCH = 20, 5, 64, 64
RATES = [round(10**power, 6) for power in np.linspace(-4, -2, 8)]
DECAYS = [round(10**power, 6) for power in np.linspace(-4, 0, 8)]
DROPOUTS = [0.1, 0.3, 0.5, 0.6]
TARGETS = {"GridSearchCV": 10, "HalvingGridSearchCV": 3, "plain loop": 5, "skorch": 5}  # times as long as msa
SAMPLE = 40  # config-folds that an extrapolation is measured on, at least


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of posts")
    parser.add_argument("--cache", type=Path, default=Path("cache"), help="folder of cached embeddings")
    parser.add_argument("--configs", type=int, default=256, help="points of the grid: 256, or fewer to try it out")
    parser.add_argument("--full", action="store_true", help="train the whole grid without halving, too")
    given = parser.parse_args()
    rates = RATES[: max(1, given.configs // (len(DECAYS) * len(DROPOUTS)))]
    drops = DROPOUTS[: max(1, min(len(DROPOUTS), given.configs // len(DECAYS)))]
    configs = len(rates) * len(DECAYS) * len(drops)
    total = configs * FOLDS
    corpus = read_corpus(given.data)
    stage = DataConfig(given.cache, ("efficientnet_lite0",), ("minilm",), device="cpu")
    head = HeadConfig("concat", hidden=HIDDEN)
    training = TrainConfig(epochs=EPOCHS, batch_size=BATCH, patience=0, metric="accuracy")
    table, (outer, *_), _ = prepare(corpus, stage, head, seed=0)
    folds = inner_folds(table.posts, outer, folds=FOLDS, seed=0)
    inputs, labels = build_inputs(table, tokens=False), table.targets()
    rest = np.sort(np.concatenate([outer.train, outer.valid]))
    matrix = np.nan_to_num(pooled_matrix(inputs))
    place = {int(row): number for number, row in enumerate(rest)}
    splits = [
        tuple(np.array([place[int(row)] for row in part]) for part in (np.r_[f.train, f.valid], f.test)) for f in folds
    ]

    varied = [f"lr={_list(rates)}", f"weight_decay={_list(DECAYS)}", f"dropout={_list(drops)}"]
    space = read_space(varied, file=None)
    own = Search(sampler="grid", inner=FOLDS, halving=3)
    with tempfile.TemporaryDirectory() as runs:
        started = time.perf_counter()
        found = sweep(corpus, stage, space, head, training, own, runs=Path(runs))
        seconds = time.perf_counter() - started
        say(f"msa: {configs} configs x {FOLDS} folds in {seconds:.1f} s; {found.plan}")
        trained = sum(max(row.values) for row in found.rows[0]) * FOLDS
        weights = matrix.shape[1] * HIDDEN + 2 * HIDDEN**2
        work = 4 * weights * len(folds[0].train) * trained  # a product and its gradient by the weights
        say(
            f"msa: {trained} epochs of a head, {seconds / trained * 1000:.1f} ms and {work / seconds / 1e9:.0f} GFLOP/s"
        )
        difference = 0.0
        if given.full:
            exact = Search(sampler="grid", inner=FOLDS, halving=0)
            whole = sweep(corpus, stage, space, head, training, exact, runs=Path(runs))
            best, chosen = (one.best.outer["accuracy"] for one in (whole, found))
            difference = best - chosen
            say(f"msa, whole grid: {whole.seconds:.1f} s; outer accuracy {best:.3f}, with halving {chosen:.3f}")

    pipe = make_pipeline(
        StandardScaler(),
        MLPClassifier((HIDDEN,), batch_size=BATCH, max_iter=EPOCHS, n_iter_no_change=EPOCHS + 1, random_state=0),
    )
    grid = {"mlpclassifier__learning_rate_init": rates, "mlpclassifier__alpha": DECAYS}
    fourth = {"mlpclassifier__beta_1": [0.9, 0.95, 0.8, 0.85][: len(drops)]}
    few = {"mlpclassifier__learning_rate_init": RATES[:: max(1, 8 // (SAMPLE // FOLDS))][: SAMPLE // FOLDS]}
    x, y, jobs = matrix[rest], labels[rest], available_cores()
    times: dict[str, float] = {}

    def keep(name: str, taken: float) -> None:
        times[name] = taken
        say(f"{name}: {taken:.0f} s, {taken / seconds:.1f} times as long as msa (target {TARGETS[name]})")

    measured = _timed(lambda: GridSearchCV(pipe, few, cv=splits, n_jobs=jobs, refit=False).fit(x, y))
    keep("GridSearchCV", measured / (len(few["mlpclassifier__learning_rate_init"]) * FOLDS) * total)
    halving = HalvingGridSearchCV(
        pipe,
        grid | fourth,
        cv=splits,
        n_jobs=jobs,
        refit=False,
        factor=3,
        resource="mlpclassifier__max_iter",
        min_resources=2,
        max_resources=EPOCHS,
    )
    keep("HalvingGridSearchCV", _timed(lambda: halving.fit(x, y)))
    torch.set_num_threads(1)  # fastest for batches this small
    jobs_of = [(rate, fold) for rate in RATES for fold in folds][:SAMPLE]
    dims = dims_of(inputs, table)
    loop = _timed(lambda: [plain_loop(inputs.pooled(), labels, dims, fold, rate) for rate, fold in jobs_of])
    keep("plain loop", loop / len(jobs_of) * total)
    if importlib.util.find_spec("skorch"):
        net = _timed(lambda: [skorch_net(matrix, labels, fold, rate) for rate, fold in jobs_of])
        keep("skorch", net / len(jobs_of) * total)

    say(f"machine: {machine()}")
    good = seconds < 180 and difference <= 0.005
    good &= all(taken / seconds >= TARGETS[name] for name, taken in times.items())
    below = f"{difference * 100:.1f} points below the whole grid" if given.full else "not compared with the whole grid"
    say(f"msa: {seconds:.1f} s for {total} config-folds (target 180), {below}")
    sys.exit(0 if good else 1)


def plain_loop(inputs: Inputs, labels: np.ndarray, dims: Dims, fold: Fold, rate: float) -> float:
    """The same head as anyone would train it: its score on the fold's test rows after the last epoch."""
    torch.manual_seed(0)
    head, truth = build_head("concat", dims, hidden=HIDDEN, dropout=0.3), torch.from_numpy(labels)
    optimizer = torch.optim.AdamW(head.parameters(), lr=rate)
    train, held = torch.from_numpy(fold.train), torch.from_numpy(fold.test)
    right = 0.0
    for _ in range(EPOCHS):
        head.train()
        for rows in torch.split(train[torch.randperm(len(train))], BATCH):
            loss = nn.functional.cross_entropy(head(Inputs(*(part[rows] for part in inputs))), truth[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        head.eval()
        with torch.no_grad():
            predicted = head(Inputs(*(part[held] for part in inputs))).argmax(1)
            right = float((predicted == truth[held]).float().mean())
    return right


def skorch_net(matrix: np.ndarray, labels: np.ndarray, fold: Fold, rate: float) -> float:
    """A perceptron of the same width by skorch, tested on the validation rows after each epoch."""
    from skorch import NeuralNetClassifier
    from skorch.dataset import Dataset
    from skorch.helper import predefined_split

    net = nn.Sequential(nn.Linear(matrix.shape[1], HIDDEN), nn.ReLU(), nn.Dropout(0.3), nn.Linear(HIDDEN, 3))
    model = NeuralNetClassifier(
        net,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        lr=rate,
        batch_size=BATCH,
        max_epochs=EPOCHS,
        train_split=predefined_split(Dataset(matrix[fold.valid], labels[fold.valid])),
        verbose=0,
    )
    model.fit(matrix[fold.train], labels[fold.train])
    return float((model.predict(matrix[fold.test]) == labels[fold.test]).mean())


def say(line: str) -> None:
    """Print at once: the whole takes half an hour, and may be cut off."""
    print(line, flush=True)


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that 20 epochs are few
        work()
    return time.perf_counter() - started


def _list(values: list[float]) -> str:
    return ",".join(map(str, values))


if __name__ == "__main__":
    main()
