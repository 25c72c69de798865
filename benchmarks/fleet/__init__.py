"""The suite on every host of a Dask cluster: `python -m benchmarks.fleet`.

`on_host.py` is what a host does, `__main__.py` is the command.
"""
