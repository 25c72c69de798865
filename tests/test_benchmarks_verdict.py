"""What is said about two runs: the interval, the word, and what may explain a ratio."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from made_up_results import ROUNDS, VISITS, content, entry, series, speeds

from benchmarks.compare.runs import Series, parse
from benchmarks.compare.verdict import (
    FASTER,
    NOT_COMPARABLE,
    SAME,
    SLOWER,
    compare,
    differences,
    expectations,
    judge,
    spread_of_visits,
    verdict,
)

PAIRS = 200


def run(*arguments, **options):
    return parse(content(*arguments, **options), Path("made-up.json"))


def run_of(entries, **options):
    """A run of these benchmarks alone."""
    return parse(content(**options) | {"benchmarks": entries}, Path("made-up.json"))


@pytest.mark.parametrize(
    ("other", "word"), [(1.0, SAME), (1.01, SAME), (1.2, FASTER), (2.0, FASTER), (0.8, SLOWER), (0.1, SLOWER)]
)
def test_the_word_for_a_ratio(other, word):
    found = verdict(series(1000.0, 1), series(1000.0 * other, 2))
    assert found.word == word
    assert found.ratio == pytest.approx(other, rel=0.02)
    assert found.low <= found.ratio <= found.high


def test_the_same_runs_have_the_same_verdict():
    """Though visits are drawn at random."""
    a, b = series(1000.0, 1, spread=0.2), series(1100.0, 2, spread=0.2)
    assert verdict(a, b) == verdict(a, b)


@pytest.mark.parametrize(
    ("other", "word"),
    [(1.0203, FASTER), (1.0197, SAME), (1.0, SAME), (1 / 1.0197, SAME), (1 / 1.0203, SLOWER)],
)
def test_a_difference_below_two_percent_is_never_called_one(other, word):
    assert verdict(series(1000.0, 1, spread=1e-5), series(1000.0 * other, 2, spread=1e-5)).word == word


def test_the_interval_has_the_ratio_in_it_as_often_as_it_says():
    """Simulated pairs, each visit with its own speed: a 95 % interval from eight visits holds the true ratio
    in at least 90 % of them, and is not so wide that this is no wonder."""
    rng = np.random.default_rng(5)
    held, widths = 0, []
    for _ in range(PAIRS):
        a, b = (
            Series("steps/s", median * np.exp(0.03 * rng.standard_normal((VISITS, 1))) * np.ones(ROUNDS), {})
            for median in (1000.0, 1200.0)
        )
        found = verdict(a, b)
        held += found.low <= 1.2 <= found.high
        widths.append(found.high - found.low)
    # The median of eight has a standard deviation of 0.44 of one's; a ratio's is sqrt(2) times as large.
    expected = 2 * 1.96 * 0.44 * 2**0.5 * 0.03 * 1.2
    assert held >= 0.90 * PAIRS
    assert 0.7 * expected < np.mean(widths) < 1.3 * expected


def test_runs_of_the_same_speed_are_seldom_told_apart():
    """Pairs without a difference: at most one in twenty may be called one."""
    words = [verdict(series(1000.0, 2 * i), series(1000.0, 2 * i + 1)).word for i in range(PAIRS)]
    assert words.count(SAME) >= 0.95 * PAIRS


@pytest.mark.parametrize(("ratio", "spread"), [(1.05, 0.01), (1.10, 0.02), (1.30, 0.05)])
def test_a_difference_well_above_the_noise_is_found(ratio, spread):
    found = [
        verdict(series(1000.0, 2 * i, spread=spread), series(1000.0 * ratio, 2 * i + 1, spread=spread)).word
        for i in range(50)
    ]
    assert found.count(FASTER) >= 45
    assert SLOWER not in found


@pytest.mark.parametrize(("visits", "median"), [([9.0, 1.0, 4.0], 4.0), ([9.0, 1.0, 4.0, 2.0], 3.0)])
def test_the_ratio_is_that_of_the_medians(visits, median):
    one, other = (Series("steps/s", np.array(some)[:, None], {}) for some in ([2.0, 2.0], visits))
    found = verdict(one, other)
    assert found.ratio == median / 2
    assert (found.low, found.high) == (0.5, 4.5), "where three or four draws may all be the same"


def test_noise_widens_the_interval_until_nothing_is_shown():
    found = verdict(series(1000.0, 1, spread=0.5), series(1100.0, 2, spread=0.5))
    assert found.word == SAME
    assert found.high - found.low > 0.1


def test_the_noise_of_either_run_counts():
    quiet, noisy = series(1000.0, 1, spread=0.001), series(1060.0, 2, spread=0.08)
    assert verdict(quiet, noisy).word == verdict(noisy, quiet).word == SAME


def test_visits_that_lie_far_apart_show_no_difference_however_many_they_are():
    """Hundreds of visits make the interval narrow; each of them is as far from the next as before."""
    rng = np.random.default_rng(3)
    noisy = Series("steps/s", 1100.0 * np.exp(0.1 * rng.standard_normal((300, ROUNDS))), {})
    quiet = Series("steps/s", 1000.0 * np.exp(1e-4 * rng.standard_normal((300, ROUNDS))), {})
    for found in (verdict(quiet, noisy), verdict(noisy, quiet)):
        assert not found.low < 1 < found.high
        assert found.word == SAME


def test_a_drifting_machine_shows_no_difference():
    drifting = speeds(1000.0, 1) * np.linspace(0.9, 1.1, VISITS)[:, None]
    assert verdict(Series("steps/s", drifting, {}), series(1080.0, 2)).word == SAME


def test_a_machine_disturbed_for_a_part_of_a_run_shows_no_difference():
    """Half the speed for two thirds of the run: the median is halved, and that says nothing."""
    disturbed = speeds(1000.0, 1) * np.repeat([1.0, 0.5], [3, VISITS - 3])[:, None]
    assert verdict(series(1000.0, 2), Series("steps/s", disturbed, {})).word == SAME


def test_the_spread_of_visits_is_that_of_their_middle_two_thirds():
    visits = np.arange(100.0, 201.0)  # percentiles 16 and 84: 116 and 184
    assert spread_of_visits(Series("steps/s", visits[:, None], {})) == pytest.approx(184 / 116 - 1)


def test_a_speed_is_the_median_over_visits_of_their_medians():
    one = Series("ns", np.array([[1.0, 1.0, 1.0], [1.0, 2.0, 9.0], [5.0, 5.0, 500.0]]) * 1e6, {})
    assert one.visits.tolist() == [1e6, 2e6, 5e6]
    assert one.speed == 2e6
    assert one.shown() == 500.0  # ns a piece
    assert Series("ms", one.speeds, {}).shown() == 5e-4
    assert Series("s", one.speeds, {}).shown() == 5e-7
    assert Series("steps/s", one.speeds, {}).shown() == 2e6


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"golden": {"64x3x32": 3.1, "256x8x64": 3.0}}, "golden steps end with another loss"),
        ({"golden": {"64x3x32": 2.9, "256x8x64": 3.0}}, "golden steps end with another loss"),
        ({"smoke": True}, "a smoke run"),
    ],
)
def test_a_reason_not_to_compare_holds_in_either_run(changes, reason):
    good, bad = run(0), run(1, **changes)
    for pair in ((good, bad), (bad, good)):
        found = judge("step[64x3x32]", *pair)
        assert (found.word, found.ratio) == (NOT_COMPARABLE, None)
        assert reason in found.reason


def test_another_golden_loss_concerns_its_own_workload():
    good, bad = run(0), run(1, golden={"64x3x32": 3.1, "256x8x64": 3.0})
    assert judge("step[256x8x64]", good, bad).word == SAME
    entries = [entry(f"kernel[64x3x32-{name}]", speeds(9.0, 1)) for name in ("f", "g")]
    pair = [run_of(entries, golden={"64x3x32": loss, "64x3x3": 1.0}) for loss in (3.0, 3.1)]
    assert judge("kernel[64x3x32-f]", *pair).word == NOT_COMPARABLE, "what is measured at its sizes too"


def test_losses_that_differ_by_rounding_are_the_same():
    nearly = run(1, golden={"64x3x32": 3.002, "256x8x64": 3.0})
    assert judge("step[64x3x32]", run(0), nearly).word == SAME


def test_golden_steps_that_one_run_did_not_make():
    assert "not made in both" in judge("step[64x3x32]", run(0), run(1, golden={})).reason


def test_what_only_one_run_measured_is_in_the_table_without_a_ratio():
    more = run_of([entry("step[64x3x32]", speeds(9.0, 1)), entry("fma", speeds(8.0, 1), "GFLOP/s")])
    rows = {row.name: row for row in compare([run(0), more])}
    assert rows["fma"].medians[0] is None and rows["fma"].unit == "GFLOP/s"
    assert rows["fma"].verdicts[0].reason == rows["step[256x8x64]"].verdicts[0].reason
    assert rows["fma"].verdicts[0].reason == "not measured in both"


def test_a_run_that_visited_once_is_not_compared():
    once = run_of([entry("step[64x3x32]", [5.0, 6.0], visits=1)])
    for pair in ((run(0), once), (once, run(0)), (once, once)):
        assert "only once" in judge("step[64x3x32]", *pair).reason


def test_another_unit_is_not_compared():
    other = run_of([entry("step[64x3x32]", speeds(9.0, 1), "ms")])
    assert judge("step[64x3x32]", run(0), other).reason == "measured in steps/s and in ms"


def test_rows_begin_with_what_a_user_feels():
    """Then come the parts of it, then what else is measured, and last the machine alone."""
    order = [
        "step[b]",
        "step[a]",
        "one_second[a]",
        "rate[a]",
        "rate_mixed",
        "ceiling[a]",
        "forward[a]",
        "forward_backward[a]",
        "update[a]",
        "draw[a]",
        "sampling",
        "import[x]",
        "first_step_warm",
        "first_step_cold",
        "prompt_to_prompt",
        "default_run",
        "kernel[a-f]",
        "product[a-g]",
        "batch[64]",
        "words[10]",
        "fma",
        "dispatch",
    ]
    mixed = [*order[::2], *order[1::2]]
    mixed.sort(
        key=lambda name: name in ("step[a]", "dispatch")
    )  # those of one kind stay as they were measured
    runs = [run_of([entry(name, np.ones(VISITS)) for name in mixed]) for _ in range(2)]
    assert [row.name for row in compare(runs)] == order


def step_and_calibrators(step, ceiling, interpreter, fma, wobble=0.0):
    """A run of one step with calibrators beside its visits, which differ by so much in turn."""
    visits = 1 + wobble * (-1.0) ** np.arange(VISITS)
    beside = {"interpreter": (interpreter * visits).tolist(), "fma": (fma * visits).tolist()}
    return run_of(
        [entry("step[a]", np.full(VISITS, step), **beside), entry("ceiling[a]", np.full(VISITS, ceiling))]
    )


def test_what_one_expects_of_a_step_from_its_parts():
    """Half of A's step is Python. B's Python is 2 times as fast, its kernels 4 times: 1 / (0.5/2 + 0.5/4)."""
    pair = step_and_calibrators(100, 200, 10, 1000), step_and_calibrators(250, 700, 20, 4000)
    (found,) = expectations(*pair)
    assert (found.name, found.python_share) == ("step[a]", pytest.approx(0.5))
    assert (found.expected, found.low, found.high) == (pytest.approx(8 / 3),) * 3
    assert found.measured == pytest.approx(2.5)


def test_a_step_of_kernels_alone_follows_the_kernels():
    (found,) = expectations(step_and_calibrators(100, 90, 10, 1000), step_and_calibrators(250, 90, 20, 3000))
    assert (found.python_share, found.expected) == (0.0, pytest.approx(3.0))


def test_the_interval_of_an_expectation_is_that_of_its_calibrators():
    pair = step_and_calibrators(100, 200, 10, 10), step_and_calibrators(500, 200, 20, 20, wobble=0.1)
    (found,) = expectations(*pair)
    assert found.low == pytest.approx(1.8) and found.high == pytest.approx(2.2)


def test_nothing_is_explained_that_was_not_shown_or_that_noise_covers():
    slower = step_and_calibrators(100, 200, 20, 4000)
    assert not expectations(step_and_calibrators(100, 200, 10, 1000), slower), "no difference shown"
    a, b = step_and_calibrators(100, 200, 10, 1000), step_and_calibrators(110, 200, 11, 1100, wobble=0.3)
    assert b.series["step[a]"].speed > a.series["step[a]"].speed
    assert not expectations(a, b), "the calibrators lie farther apart than the steps"
    assert expectations(a, step_and_calibrators(110, 200, 11, 1100)), "and without noise they explain it"


def test_nothing_is_expected_without_all_parts():
    a, b = step_and_calibrators(100, 200, 10, 1000), step_and_calibrators(250, 700, 20, 4000)
    alone = run_of([entry("step[a]", np.full(VISITS, 250))])
    assert not expectations(a, alone) and not expectations(alone, b)


def test_what_differs_is_told_and_nothing_else():
    assert differences([run(0), run(1)]) == {"cpu.brand": ["CPU 0", "CPU 1"]}


def test_of_long_lists_what_not_all_have():
    pair = []
    for features in (["avx", "sse"], ["avx512f", "sse"]):
        one = content()
        one["machine_info"] |= {
            "flags": [*features, *map(str, range(20))],
            "cores": [0, 1, *range(len(pair))],
        }
        pair.append(parse(json.loads(json.dumps(one)), Path("made-up.json")))
    assert differences(pair) == {"flags": ["avx", "avx512f"], "cores": ["0, 1", "0, 1, 0"]}


def test_rounds_of_one_visit_are_one_visit():
    """Medians of visits: 1, 1 and 10; of all rounds: 5."""
    first = Series("steps/s", np.ones((3, 2)), {"loss": []})
    other = Series("steps/s", np.array([[1.0, 1.0], [0.5, 1.5], [10.0, 10.0]]), {"loss": []})
    assert verdict(first, other).ratio == 1.0
    other = Series("steps/s", np.array([[1.0, 9.0], [1.0, 9.0], [1.0, 1.0]]), {"loss": []})
    assert verdict(first, other).ratio == 5.0


def test_a_workload_is_meant_by_its_whole_name():
    """Not by one that begins alike; a part of a row's name, after the workload's, is not of it."""
    first = run(golden={"64x3x32": 3.0, "64x3x3": 3.0})
    other = run(1, golden={"64x3x32": 3.0, "64x3x3": 2.0})
    assert judge("step[64x3x32]", first, other).ratio is not None
    for one in (first, other):
        one.series["kernel[64x3x3-draw]"] = one.series["step[64x3x32]"]
        one.series["kernel[64x3x32-draw]"] = one.series["step[64x3x32]"]
    assert judge("kernel[64x3x32-draw]", first, other).ratio is not None
    assert judge("kernel[64x3x3-draw]", first, other).reason == "the golden steps end with another loss"


def test_what_nothing_is_in_is_spelt_with_a_dash():
    runs = [run(seed) for seed in range(2)]
    for one, facts in zip(runs, ([], ["x"]), strict=True):
        one.machine["list"] = facts
    assert differences(runs)["list"] == ["-", "x"]


@pytest.mark.parametrize("most", [104.0, 96.0])
def test_the_whole_interval_is_to_lie_beyond_the_noise(most):
    """Two of eight visits are like all of the other run: the median alone says too much."""
    first, other = (
        Series("steps/s", np.array(visits)[:, None], {"loss": []})
        for visits in ([100.0] * 8, [100.0] * 2 + [most] * 6)
    )
    found = verdict(first, other)
    assert abs(np.log(found.ratio)) > np.log(1 + spread_of_visits(other)) and found.word == SAME
    assert found.low <= 1.02 if most > 100 else found.high >= 0.98
