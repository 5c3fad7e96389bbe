"""Losses, steps and epochs of a probe against torch's modules, autograd and optimizers."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from clamp3.errors import ConfigError, DataError
from clamp3.probe.config import ProbeConfig
from clamp3.probe.fit import epoch_order, fit, one_epoch
from clamp3.probe.heads import make_head
from clamp3.probe.losses import loss_of, sigmoid, softmax
from clamp3.probe.report import as_text
from clamp3.probe.splits import Split
from clamp3.probe.train import Labelled, train_and_test

pytestmark = pytest.mark.kernels

CROSS_ENTROPY = torch.nn.functional.cross_entropy
ORACLES = {
    ("multiclass", False): lambda z, y: CROSS_ENTROPY(z, y.argmax(dim=1)),
    ("multiclass", True): lambda z, y: CROSS_ENTROPY(torch.softmax(z, dim=1), y.argmax(dim=1)),
    ("multilabel", False): torch.nn.functional.binary_cross_entropy_with_logits,
    ("regression", False): torch.nn.functional.mse_loss,
}
TASKS = pytest.mark.parametrize(("task", "double"), list(ORACLES))


def some_targets(task, n, n_outputs, rng):
    if task == "multiclass":
        return np.eye(n_outputs, dtype=np.float32)[rng.integers(0, n_outputs, n)]
    if task == "multilabel":
        return rng.integers(0, 2, (n, n_outputs)).astype(np.float32)
    return rng.standard_normal((n, n_outputs)).astype(np.float32)


@TASKS
@pytest.mark.parametrize("n", [1, 6])
def test_losses_and_gradients_equal_autograd(task, double, n):
    rng = np.random.default_rng(1)
    z = 3 * rng.standard_normal((n, 5)).astype(np.float32)
    y = some_targets(task, n, 5, rng)
    tensor = torch.from_numpy(z.copy()).requires_grad_()
    wanted = ORACLES[task, double](tensor, torch.from_numpy(y))
    wanted.backward()
    loss = loss_of(task, double_softmax=double)
    assert loss.values(z, y).shape == (n,)
    np.testing.assert_allclose(loss.values(z, y).mean(), wanted.item(), rtol=1e-6)
    np.testing.assert_allclose(loss.gradient(z, y), tensor.grad.numpy(), rtol=1e-5, atol=1e-7)
    assert np.abs(tensor.grad.numpy()).max() > 1e-3


def test_double_softmax_is_another_loss_with_a_floor():
    """The second softmax sees numbers between 0 and 1, so even a perfect answer costs: for 2 classes log(1 + 1/e)."""
    sure, y = np.array([[50.0, -50.0]], np.float32), np.array([[1.0, 0.0]], np.float32)
    assert loss_of("multiclass").values(sure, y)[0] == pytest.approx(0, abs=1e-6)
    assert loss_of("multiclass", double_softmax=True).values(sure, y)[0] == pytest.approx(np.log(1 + np.exp(-1)))


def test_large_logits_stay_finite():
    z = np.array([[1000.0, -1000.0, 0.0]], np.float32)
    y = np.array([[0.0, 1.0, 0.0]], np.float32)
    with np.errstate(over="raise", invalid="raise"):
        for (task, double), _ in ORACLES.items():
            loss = loss_of(task, double_softmax=double)
            assert np.isfinite(loss.values(z, y)).all() and np.isfinite(loss.gradient(z, y)).all()
        np.testing.assert_array_equal(sigmoid(z), [[1, 0, 0.5]])
        np.testing.assert_array_equal(softmax(z), [[1, 0, 0]])


def reference_epochs(x, y, config, n_epochs):
    """Train with torch's modules and AdamW, in the same order and from the same weights; return the losses."""
    start = {name: torch.from_numpy(value) for name, value in make_head(x.shape[1], y.shape[1], config).state().items()}
    if config.head == "linear":
        model = torch.nn.Sequential(torch.nn.Linear(x.shape[1], y.shape[1]))
        names = {"0.weight": "fc.weight", "0.bias": "fc.bias"}
    else:
        model = torch.nn.Sequential(
            torch.nn.Linear(x.shape[1], config.hidden), torch.nn.ReLU(), torch.nn.Linear(config.hidden, y.shape[1])
        )
        names = {"0.weight": "hidden.weight", "0.bias": "hidden.bias", "2.weight": "fc.weight", "2.bias": "fc.bias"}
    model.load_state_dict({ours: start[theirs] for ours, theirs in names.items()})
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    rng = np.random.default_rng([config.seed, 1])
    losses = []
    for _ in range(n_epochs):
        total, order = 0.0, epoch_order(rng, y, config)
        for first in range(0, len(order), config.batch_size):
            rows = order[first : first + config.batch_size]
            optimizer.zero_grad()
            loss = ORACLES[config.task, config.double_softmax](
                model(torch.from_numpy(x[rows])), torch.from_numpy(y[rows])
            )
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        losses.append(total / len(order))
    return losses, {theirs: model.state_dict()[ours].numpy() for ours, theirs in names.items()}


@TASKS
@pytest.mark.parametrize(("head", "batch_size"), [("linear", 1), ("linear", 7), ("mlp", 7)])
def test_losses_are_those_of_a_plain_torch_loop(task, double, head, batch_size):
    rng = np.random.default_rng(2)
    x = rng.standard_normal((40, 16)).astype(np.float32)
    y = some_targets(task, 40, 3, rng)
    config = ProbeConfig(
        task=task,
        head=head,
        num_epochs=4,
        learning_rate=3e-3,
        batch_size=batch_size,
        double_softmax=double,
        hidden=8,
        dropout=0.0,
        weight_decay=0.1,
    )
    wanted, weights = reference_epochs(x, y, config, 4)
    fitted = fit(x, y, config)
    losses = [epoch.loss for epoch in fitted.history]
    np.testing.assert_allclose(losses, wanted, rtol=2e-5)
    assert losses[-1] < losses[0] - 1e-3, "nothing was learned, so equality would mean little"
    for name, value in fitted.head.state().items():
        np.testing.assert_allclose(value, weights[name], atol=2e-5)


def test_dropout_acts_in_training_only_and_depends_on_the_seed():
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((30, 6)).astype(np.float32), some_targets("multiclass", 30, 3, rng)

    def losses(dropout, seed=1):
        config = ProbeConfig(head="mlp", num_epochs=2, learning_rate=1e-2, batch_size=10, dropout=dropout, seed=seed)
        fitted = fit(x, y, config)
        np.testing.assert_array_equal(fitted.outputs(x), fitted.outputs(x))
        return [epoch.loss for epoch in fitted.history]

    assert losses(0.5) == losses(0.5)
    assert losses(0.5) != losses(0.0)
    assert losses(0.5) != losses(0.5, seed=2)


def test_the_same_seed_gives_the_same_probe_and_another_seed_another():
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((20, 5)).astype(np.float32), some_targets("multiclass", 20, 3, rng)
    states = [fit(x, y, ProbeConfig(num_epochs=3, seed=seed)).head.state()["fc.weight"] for seed in (1, 1, 2)]
    np.testing.assert_array_equal(states[0], states[1])
    assert not np.allclose(states[0], states[2])


def test_the_first_best_epoch_is_kept_with_its_weights():
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((20, 5)).astype(np.float32), some_targets("multiclass", 20, 2, rng)
    scores, seen = iter([0.1, 0.7, 0.7, 0.3]), []

    def score(outputs):
        seen.append(outputs.copy())
        return next(scores)

    fitted = fit(x, y, ProbeConfig(num_epochs=4, learning_rate=0.01), valid=x, score=score)
    assert fitted.best_epoch == 2
    np.testing.assert_array_equal(fitted.outputs(x), seen[1])
    assert not np.array_equal(seen[1], seen[3])


def test_plateaus_halve_the_rate_and_patience_ends_the_training():
    x, y = np.ones((2, 3), np.float32), np.eye(2, dtype=np.float32)
    scores = iter([1, 2, 2, 2, 2, 2, 2, 2, 2])
    config = ProbeConfig(num_epochs=9, learning_rate=0.8, lr_patience=1, patience=5)
    fitted = fit(x, y, config, valid=x, score=lambda _: float(next(scores)))
    # Better in epochs 1 and 2; torch halves after more than `patience` epochs without a better one.
    assert [epoch.rate for epoch in fitted.history] == pytest.approx([0.8, 0.8, 0.8, 0.8, 0.4, 0.4, 0.2])
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.8)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="max", factor=0.5, patience=1)
    rates = []
    for value in (1, 2, 2, 2, 2, 2, 2):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        plateau.step(value)
    assert [epoch.rate for epoch in fitted.history] == pytest.approx(rates)


def test_balanced_training_shows_every_class_equally_often_and_every_file():
    """The released script crashes here."""
    y = np.eye(3, dtype=np.float32)[[0] * 7 + [1] * 3 + [2]]
    order = epoch_order(np.random.default_rng(6), y, ProbeConfig(balanced_training="over"))
    assert np.bincount(y[order].argmax(axis=1)).tolist() == [7, 7, 7]
    assert set(order.tolist()) == set(range(11))
    assert sorted(epoch_order(np.random.default_rng(6), y, ProbeConfig()).tolist()) == list(range(11))
    fit(np.ones((11, 4), np.float32), y, ProbeConfig(balanced_training="over", num_epochs=1))
    rng = np.random.default_rng(6)
    epochs = [epoch_order(rng, y, ProbeConfig(balanced_training="under")).tolist() for _ in range(60)]
    assert all(sorted(y[order].argmax(axis=1)) == [0, 1, 2] for order in epochs), "as many as the smallest class has"
    assert {row for order in epochs for row in order} == set(range(11)), "drawn anew for every epoch"


def test_a_score_that_is_undefined_ends_nothing():
    """ROC-AUC of a validation set in which no tag varies is NaN: patience must not count it."""
    x, y = np.eye(4, dtype=np.float32), np.eye(4, dtype=np.float32)[:, :2]
    config = ProbeConfig(task="multilabel", num_epochs=25, patience=10, learning_rate=0.1)
    fitted = fit(x, y, config, valid=x, score=lambda outputs: float("nan"))
    assert (fitted.best_epoch, len(fitted.history)) == (25, 25)
    assert all(epoch.score is None for epoch in fitted.history)


def test_a_validation_set_without_a_varying_tag_is_said():
    rng = np.random.default_rng(0)
    labels = [("slow",) if row % 2 else ("fast",) for row in range(12)]
    labels[4:6] = [("slow",), ("slow",)]
    data = Labelled([f"{row}.npy" for row in range(12)], rng.standard_normal((12, 4)).astype(np.float32), labels)
    split = Split(np.array([0, 1, 2, 3]), np.array([4, 5]), np.arange(6, 12))
    run = train_and_test(data, split, ProbeConfig(task="multilabel", num_epochs=15, patience=10))
    assert run.probe.info["best_epoch"] == 15
    assert "the 2 files to choose the epoch by have no roc_auc" in as_text([run])
    chosen = train_and_test(data, Split(split.train, split.test, split.valid), replace(run.probe.config, patience=0))
    assert "have no roc_auc" not in as_text([chosen])


def test_a_divergent_training_says_what_to_do():
    x = np.full((4, 3), 1e30, np.float32)
    y = np.ones((4, 1), np.float32)
    with pytest.raises(DataError, match="lower --learning_rate"), np.errstate(all="ignore"):
        fit(x, y, ProbeConfig(task="regression", num_epochs=3))


def test_the_number_of_threads_is_what_it_was_after_training():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        fit(np.ones((4, 3), np.float32), np.eye(2, dtype=np.float32)[[0, 1, 0, 1]], ProbeConfig(num_epochs=1))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_one_epoch_returns_the_mean_of_the_losses_before_each_step():
    x, y = np.zeros((3, 2), np.float32), np.zeros((3, 1), np.float32)
    config = ProbeConfig(task="regression", learning_rate=1e-9)
    head = make_head(2, 1, config)
    bias = head.state()["fc.bias"][0]
    loss = one_epoch(head, head.prepare(x), y, np.arange(3), 2)
    assert loss == pytest.approx(bias**2, rel=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task": "ranking"}, "choose multiclass"),
        ({"num_epochs": 0}, "num_epochs"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"dropout": 1.0}, "dropout"),
        ({"patience": -1}, "patience"),
        ({"task": "regression", "double_softmax": True}, "multiclass only"),
        ({"task": "multilabel", "balanced_training": "over"}, "multiclass only"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ConfigError, match=message):
        ProbeConfig(**settings)
