"""JAX: a compiled step, called from Python or a hundred times in one `scan`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.peers import Rows, Task, Weights

# A step is over sooner when it does not have to change threads.
jax.config.update("jax_cpu_enable_async_dispatch", False)

Logits = Callable[[Weights, Any], Any]  # of the parameters and the chosen examples


def bag(task: Task) -> Logits:
    counts = jnp.array(task.counts)
    return lambda params, chosen: (counts[chosen] @ params["E"]) @ params["W"].T


def mlp(task: Task) -> Logits:
    N, K, V = task.letters.shape
    letters = jnp.array(task.letters.swapaxes(1, 2).reshape(N, V * K))

    def logits(params: Weights, chosen: Any) -> Any:
        made = (params["E"] @ params["H"].T).reshape(V * K, -1)  # of every letter, at every place
        h = jnp.tanh(letters[chosen] @ made + params["d"])
        return h @ params["U"].T + params["b"]

    return logits


def gpt(task: Task) -> Logits:
    sizes, letters = task.workload.config.sizes, jnp.array(task.letters)
    (_, T, _), D, H = letters.shape, sizes["dim"], sizes["heads"]
    later = jnp.where(jnp.tri(T, dtype=bool), 0.0, -jnp.inf)

    def norm(x: Any) -> Any:
        return x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + 1e-5)

    def attention(qkv: Any) -> Any:
        q, k, v = (qkv.reshape(-1, T, 3, H, D // H)[:, :, part] for part in range(3))
        scores = jnp.einsum("bthd,bshd->bhts", q, k) / (D // H) ** 0.5
        return jnp.einsum("bhts,bshd->bthd", jax.nn.softmax(scores + later), v).reshape(-1, D)

    def logits(params: Weights, chosen: Any) -> Any:
        x = norm((letters[chosen] @ params["wte"] + params["wpe"][:T]).reshape(-1, D))
        for layer in range(sizes["layers"]):
            qkv, out, up, down = (params[f"blocks.{layer}.{part}"] for part in ("qkv", "out", "up", "down"))
            x += attention(norm(x) @ qkv.T) @ out.T
            x += jax.nn.relu(norm(x) @ up.T) @ down.T
        return x @ params["head"].T

    return logits


MODELS = {"bag": bag, "mlp": mlp, "gpt": gpt}


def sgd(params: Weights, slopes: Weights, memory: Any, rate: Any, count: Any) -> tuple[Weights, Any]:
    return jax.tree.map(lambda value, slope: value - rate * slope, params, slopes), memory


def adam(params: Weights, slopes: Weights, memory: Any, rate: Any, count: Any) -> tuple[Weights, Any]:
    m = jax.tree.map(lambda old, slope: 0.9 * old + 0.1 * slope, memory[0], slopes)
    v = jax.tree.map(lambda old, slope: 0.99 * old + 0.01 * slope * slope, memory[1], slopes)
    step, correction = rate / (1 - 0.9**count), jax.lax.rsqrt(1 - 0.99**count)
    update = lambda value, m, v: value - step * m / (correction * jnp.sqrt(v) + 1e-8)  # noqa: E731
    return jax.tree.map(update, params, m, v), (m, v)


class JaxStep:
    steps_per_call = 1

    def __init__(self, task: Task) -> None:
        self.plan, B = task.plan(1), task.workload.batch
        logits, targets = MODELS[task.workload.config.model](task), jnp.array(task.targets)
        update = {"sgd": sgd, "adam": adam}[self.plan.optimiser]

        def loss(params: Weights, chosen: Any) -> Any:
            right = jax.nn.one_hot(targets[chosen].ravel(), task.letters.shape[2])  # no 1 for PADDING
            return -(right * jax.nn.log_softmax(logits(params, chosen))).sum() / right.sum()

        def step(state: Any, chosen: Any) -> Any:
            params, memory, done, steps = state
            value, slopes = jax.value_and_grad(loss)(params, chosen)
            rate = self.plan.lr * (1 - done / steps)
            params, memory = update(params, slopes, memory, rate, done + 1)
            return (params, memory, done + 1, steps), value

        def advance(state: Any) -> Any:
            training, key = state
            key, draw = jax.random.split(key)
            rows = jax.random.randint(draw, (self.steps_per_call, B), 0, len(targets))
            training, losses = self.repeat(step, training, rows)
            return (training, key), losses

        self.step = jax.jit(step)
        self.advance = jax.jit(advance, donate_argnums=0)
        self.params: Weights = jax.tree.map(jnp.array, task.start)
        self.key = jax.random.key(0)

    def begin(self, steps: int) -> Any:
        """The state before the first of so many steps."""
        empty = [jax.tree.map(jnp.zeros_like, self.params) for _ in range(2)]
        return self.params, tuple(empty), jnp.float32(0), jnp.float32(steps)

    def repeat(self, step: Any, training: Any, rows: Any) -> Any:
        return step(training, rows[0])

    def follow(self, rows: Rows) -> None:
        training = self.begin(len(rows))
        for chosen in rows:
            training, _ = self.step(training, chosen)
        self.params = training[0]

    def run(self, steps: int) -> None:
        calls = -(-steps // self.steps_per_call)
        state = self.begin(calls * self.steps_per_call), self.key
        for _ in range(calls):
            state, losses = self.advance(state)
        losses.block_until_ready()
        (self.params, *_), self.key = state

    def weights(self) -> Weights:
        return self.params


class JaxScan(JaxStep):
    steps_per_call = 100

    def repeat(self, step: Any, training: Any, rows: Any) -> Any:
        return jax.lax.scan(step, training, rows)
