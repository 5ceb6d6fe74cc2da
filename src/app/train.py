"""Training: a fully connected network, in JAX."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import polars as pl
from omegaconf import DictConfig
from sklearn.datasets import load_digits

from mini import job_dir, progress

log = logging.getLogger(__name__)

Params = list[tuple[jax.Array, jax.Array]]


def train(config: DictConfig) -> dict[str, Any]:
    """Train a model and leave its checkpoint and its history in the job's folder.

    Args:
        config: Groups `model`, `optimizer` and `data`; `epochs` and `seed`.

    Returns:
        The final metrics: `accuracy` and `loss` on the test set, `train_loss`, and the number of `parameters`.
    """
    x_train, x_test, y_train, y_test = load(config.data, config.seed)
    params = init(jax.random.key(config.seed), [x_train.shape[1], *config.model.hidden, 10])
    optimizer = make_optimizer(config.optimizer)
    state = optimizer.init(params)
    order = np.random.default_rng(config.seed)
    log.info("training on %s with %d examples", jax.devices()[0].platform, len(x_train))

    history = []
    for epoch in range(1, config.epochs + 1):
        losses = []
        for batch in batches(order.permutation(len(x_train)), config.data.batch_size):
            params, state, loss = step(optimizer.update, params, state, x_train[batch], y_train[batch])
            losses.append(loss)
        test_loss, accuracy = evaluate(params, x_test, y_test)
        row = {"train_loss": float(np.mean(losses)), "loss": float(test_loss), "accuracy": float(accuracy)}
        history.append({"epoch": epoch, **row})
        progress(epoch, config.epochs, **row)

    pl.DataFrame(history).write_parquet(job_dir() / "metrics.parquet")
    save(params)
    return {**row, "parameters": sum(w.size + b.size for w, b in params)}


def load(config: DictConfig, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The data set, split.

    Returns:
        Training images, test images, training labels, test labels; images as float32 of shape (n, 64) in 0..1.
    """
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(images))
    x, y = (images[order] / 16).astype(np.float32), labels[order]
    held_out = round(len(x) * config.test_fraction)
    return x[held_out:], x[:held_out], y[held_out:], y[:held_out]


def make_optimizer(config: DictConfig) -> optax.GradientTransformation:
    """The optimizer that the group `optimizer` chose."""
    if config.name == "adam":
        return optax.adam(config.lr)
    if config.name == "sgd":
        return optax.sgd(config.lr, momentum=config.momentum)
    raise ValueError(f"optimizer.name={config.name!r} is unknown; there are adam and sgd")


def init(key: jax.Array, sizes: Sequence[int]) -> Params:
    """Weights and biases of each layer."""
    params = []
    for fan_in, fan_out in pairwise(sizes):
        key, own = jax.random.split(key)
        params.append((jax.random.normal(own, (fan_in, fan_out)) * np.sqrt(2 / fan_in), jnp.zeros(fan_out)))
    return params


def forward(params: Params, x: jax.Array) -> jax.Array:
    """Logits of shape (n, 10)."""
    for weights, bias in params[:-1]:
        x = jax.nn.relu(x @ weights + bias)
    weights, bias = params[-1]
    return x @ weights + bias


def loss_of(params: Params, x: jax.Array, y: jax.Array) -> jax.Array:
    """The mean cross entropy."""
    loss: jax.Array = optax.softmax_cross_entropy_with_integer_labels(forward(params, x), y).mean()
    return loss


@partial(jax.jit, static_argnums=0)
def step(update: Any, params: Params, state: Any, x: jax.Array, y: jax.Array) -> tuple[Params, Any, jax.Array]:
    """One step of the optimizer."""
    loss, gradients = jax.value_and_grad(loss_of)(params, x, y)
    updates, state = update(gradients, state, params)
    return optax.apply_updates(params, updates), state, loss


@jax.jit
def evaluate(params: Params, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Loss and accuracy."""
    return loss_of(params, x, y), (forward(params, x).argmax(axis=1) == y).mean()


def batches(order: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Full batches of indices; a short rest would compile a second time."""
    for start in range(0, len(order) - size + 1, size):
        yield order[start : start + size]


def save(params: Params) -> None:
    """Write the checkpoint."""
    arrays: dict[str, Any] = {
        f"{name}{i}": value for i, layer in enumerate(params) for name, value in zip("wb", layer, strict=True)
    }
    np.savez(job_dir() / "checkpoint.npz", **arrays)
