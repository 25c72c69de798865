"""Comparing results: `python -m benchmarks.compare A.json B.json`.

Reading order: `runs.py` (a file of results, checked where it is read), `verdict.py` (ratios, intervals and
the word for each), `report.py` (the comparison as text or JSON), `chart.py` (as a picture).
"""
