"""The benchmark suite, and the comparison of its results.

    pytest --benchmark                                  two to three minutes; one file in results/
    python -m benchmarks.compare A.json B.json          which is faster, by how much, and why
    python -m benchmarks.duet A B                       two versions of this project on one machine, in turn
    python -m benchmarks.fleet --local 2                the suite on every host of a Dask cluster
    python -m benchmarks.peers                          the same training step in other ways, beside ours

Reading order: `workloads.py` (what is measured), the `test_*.py` files (one per kind of
measurement), `plugin.py` (how rounds are spread over the run and saved), `compare/`.

To measure another model, add a row to `workloads.WORKLOADS`.
"""
