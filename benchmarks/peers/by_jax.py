"""JAX: a compiled step, called from Python or a hundred times in one `scan`."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.peers import RATE, Rows, Task

# A step is over sooner when it does not have to change threads.
jax.config.update("jax_cpu_enable_async_dispatch", False)


class JaxStep:
    steps_per_call = 1

    def __init__(self, task: Task) -> None:
        counts, targets, B = jnp.array(task.counts), jnp.array(task.examples.rows[:, -1]), task.workload.batch

        def loss(params: Any, chosen: Any) -> Any:
            E, W = params
            logits = (counts[chosen] @ E) @ W.T
            places = targets[chosen][:, None]
            return -jnp.take_along_axis(jax.nn.log_softmax(logits), places, axis=1).mean()

        def step(params: Any, chosen: Any) -> Any:
            value, slopes = jax.value_and_grad(loss)(params, chosen)
            return jax.tree.map(lambda old, slope: old - RATE * slope, params, slopes), value

        def advance(state: Any) -> Any:
            params, key = state
            key, draw = jax.random.split(key)
            rows = jax.random.randint(draw, (self.steps_per_call, B), 0, len(targets))
            params, losses = self.repeat(step, params, rows)
            return (params, key), losses

        self.step = jax.jit(step)
        self.advance = jax.jit(advance, donate_argnums=0)
        self.state = tuple(map(jnp.array, task.start)), jax.random.key(0)

    def repeat(self, step: Any, params: Any, rows: Any) -> Any:
        return step(params, rows[0])

    def follow(self, rows: Rows) -> None:
        params, key = self.state
        for chosen in rows:
            params, _ = self.step(params, chosen)
        self.state = params, key

    def run(self, steps: int) -> None:
        for _ in range(-(-steps // self.steps_per_call)):
            self.state, losses = self.advance(self.state)
        losses.block_until_ready()

    def weights(self) -> tuple[Any, Any]:
        E, W = self.state[0]
        return E, W


class JaxScan(JaxStep):
    steps_per_call = 100

    def repeat(self, step: Any, params: Any, rows: Any) -> Any:
        return jax.lax.scan(step, params, rows)
