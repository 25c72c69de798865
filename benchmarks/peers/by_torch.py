"""PyTorch: its fastest way to call autograd and to update, eager or compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from autollm.learning.examples import PADDING
from benchmarks.peers import Rows, Task, Weights

torch.set_num_threads(1)

Logits = Callable[[Weights, Any], Any]  # of the parameters and the chosen examples


def bag(task: Task) -> Logits:
    counts = torch.tensor(task.counts)
    return lambda params, chosen: functional.linear(counts[chosen] @ params["E"], params["W"])


def mlp(task: Task) -> Logits:
    N, K, V = task.letters.shape
    letters = torch.tensor(task.letters.swapaxes(1, 2).reshape(N, V * K))

    def logits(params: Weights, chosen: Any) -> Any:
        made = functional.linear(params["E"], params["H"]).view(V * K, -1)  # of every letter, at every place
        h = torch.tanh(torch.addmm(params["d"], letters[chosen], made))
        return functional.linear(h, params["U"], params["b"])

    return logits


def gpt(task: Task) -> Logits:
    sizes, letters = task.workload.config.sizes, torch.tensor(task.letters)
    (_, T, _), D, H = letters.shape, sizes["dim"], sizes["heads"]

    def norm(x: Any) -> Any:
        return functional.rms_norm(x, (D,), eps=1e-5)

    def attention(qkv: Any) -> Any:
        q, k, v = qkv.view(-1, T, 3, H, D // H).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return mixed.transpose(1, 2).reshape(-1, D)

    def logits(params: Weights, chosen: Any) -> Any:
        x = norm((letters[chosen] @ params["wte"] + params["wpe"][:T]).view(-1, D))
        for layer in range(sizes["layers"]):
            qkv, out, up, down = (params[f"blocks.{layer}.{part}"] for part in ("qkv", "out", "up", "down"))
            x = x + functional.linear(attention(functional.linear(norm(x), qkv)), out)
            x = x + functional.linear(functional.relu(functional.linear(norm(x), up)), down)
        return functional.linear(x, params["head"])

    return logits


MODELS = {"bag": bag, "mlp": mlp, "gpt": gpt}


class ByTorch:
    def __init__(self, task: Task) -> None:
        self.task, self.targets = task, torch.tensor(task.targets).long()
        self.logits = MODELS[task.workload.config.model](task)
        self.params = {name: torch.tensor(value, requires_grad=True) for name, value in task.start.items()}

    def loss(self, chosen: Any) -> Any:
        logits, targets = self.logits(self.params, chosen), self.targets[chosen].view(-1)
        return functional.cross_entropy(logits, targets, ignore_index=PADDING)

    def train(self, batches: Any, steps: int) -> None:
        """The optimisers' own functions, without what their classes do around them."""
        params = list(self.params.values())
        m, v = ([torch.zeros_like(param) for param in params] for _ in range(2))
        counts = [torch.tensor(0.0) for _ in params]
        adam = self.task.plan(steps).optimiser == "adam"
        for chosen, rate in zip(batches, self.task.rates(steps).tolist(), strict=True):
            slopes = torch.autograd.grad(self.loss(chosen), params)
            with torch.no_grad():
                if adam:
                    torch._foreach_add_(counts, 1)
                    torch._fused_adam_(
                        params, slopes, m, v, [], counts, lr=rate, beta1=0.9, beta2=0.99,
                        weight_decay=0.0, eps=1e-8, amsgrad=False, maximize=False,
                    )  # fmt: skip
                else:
                    torch._foreach_add_(params, slopes, alpha=-rate)

    def follow(self, rows: Rows) -> None:
        self.train(torch.tensor(rows), len(rows))

    def run(self, steps: int) -> None:
        size = (self.task.workload.batch,)
        self.train((torch.randint(len(self.targets), size) for _ in range(steps)), steps)

    def weights(self) -> Weights:
        return {name: param.detach().numpy() for name, param in self.params.items()}


class Compiled(ByTorch):
    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.loss = torch.compile(self.loss)  # type: ignore[method-assign]
