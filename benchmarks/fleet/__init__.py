"""The suite on every host of a Dask cluster: `python -m benchmarks.fleet`.

`on_host.py` is what a host does, `by_ssh.py` starts a cluster by SSH, `__main__.py` is the command.
"""
