"""The ladder as a picture: how the held-out loss of every model falls in its second."""

from __future__ import annotations

import io
from pathlib import Path

from autollm.errors import InputError
from autollm.files import check_target, replace_file

KINDS = (".png", ".svg")
# Told apart by colour-blind readers too (Okabe and Ito 2008).
COLOURS = ("#000000", "#e69f00", "#56b4e9", "#009e73", "#0072b2", "#d55e00", "#cc79a7")
Curve = list[tuple[float, float]]  # seconds of training, nats per letter


def check(path: str) -> None:
    """Raise InputError if no picture can be drawn at `path`, before the work that it would show."""
    if Path(path).suffix not in KINDS:
        raise InputError(f"--plot {path}: a picture's name ends in {' or '.join(KINDS)}")
    check_target(path)
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise InputError("--plot needs matplotlib: pip install matplotlib") from None


def draw(curves: dict[str, Curve], path: str) -> None:
    """Write the picture, each curve with its name and last loss beside it. Raises InputError."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    with matplotlib.rc_context({"svg.hashsalt": "autollm"}):  # the same picture, the same bytes
        figure, axis = plt.subplots(figsize=(8, 5), layout="constrained")
        last = {name: curve[-1] for name, curve in curves.items()}
        lowest = min(loss for _, loss in last.values())
        highest = max(loss for _, loss in last.values())
        top = highest + max(0.7 * (highest - lowest), 0.2)
        bottom = lowest - 0.06 * (top - lowest)
        places = _apart({name: loss for name, (_, loss) in last.items()}, 0.045 * (top - bottom))
        for i, (name, curve) in enumerate(curves.items()):
            colour = COLOURS[i % len(COLOURS)]
            seconds, losses = zip(*curve, strict=True)
            axis.plot(seconds, losses, ".-", color=colour, linewidth=1.6)
            axis.annotate(
                f"{name} {losses[-1]:.3f}",
                (seconds[-1], losses[-1]),
                (1.01, places[name]),
                textcoords=axis.get_yaxis_transform(),
                color=colour,
                va="center",
                fontsize=10,
            )
        axis.set_xlim(0, max(second for second, _ in last.values()))
        axis.set_ylim(bottom, top)
        axis.set_xlabel("seconds of training")
        axis.set_ylabel("loss on held-out words, in nats per letter")
        axis.grid(color="#dddddd", linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
        picture = io.BytesIO()
        kind = Path(path).suffix[1:]
        figure.savefig(picture, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)
        plt.close(figure)
    replace_file(path, picture.getvalue())


def _apart(heights: dict[str, float], gap: float) -> dict[str, float]:
    """The heights, moved up where two are closer than `gap`."""
    places: dict[str, float] = {}
    least = -float("inf")
    for name in sorted(heights, key=heights.__getitem__):
        places[name] = max(heights[name], least)
        least = places[name] + gap
    return places
