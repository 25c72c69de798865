"""The list of faults fits the project as it is: tests/mutants.py tries them."""

from __future__ import annotations

import pytest
from mutants import ROOT, read_faults


@pytest.mark.parametrize("kind", ["faults", "harmless"])
def test_every_fault_can_be_made(kind, tmp_path):
    for fault in read_faults(kind):
        copy = tmp_path / fault.file
        copy.parent.mkdir(parents=True, exist_ok=True)
        source = (ROOT / fault.file).read_text(encoding="utf-8")
        copy.write_text(source, encoding="utf-8")
        fault.put_into(tmp_path)
        assert copy.read_text(encoding="utf-8") != source


def test_the_faults_are_all_different():
    faults = read_faults()
    assert len({(fault.file, fault.find, fault.replace) for fault in faults}) == len(faults)
