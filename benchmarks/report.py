"""The short table at the end of a run."""

from typing import Any


def render(o: dict[str, Any]) -> str:
    return "\n".join(
        f"{e['name']:45} {e['extra_info']['unit']:12} {e['extra_info']['spread']:.3f} {e['extra_info']['drift']:+.3f}"
        for e in o["benchmarks"]
    ) + str(o["autollm"]["noise"])
