"""What people's lists look like: their encodings, columns, headers, comments, and JSON."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Iterable

from autollm.errors import InputError

Entry = tuple[int, str]  # the number of a line, and what it says
MISSING = "\ufffd"  # stands for bytes that mean nothing in an encoding, and for a column that is not there
SEPARATORS = {"\t": "tabs", ",": "commas"}


def decode(data: bytes, encoding: str | None, lenient: bool) -> str:
    """Bytes as text, in UTF-8 unless another encoding is given or a byte-order mark says UTF-16 or UTF-32.

    With `lenient`, MISSING stands for what cannot be decoded; without, it raises InputError, which
    names the line and what may help. Byte-order marks, and a Ctrl-Z that ends a DOS file, are left out.
    """
    name = encoding or _by_its_mark(data) or "utf-8"
    try:
        text = data.decode(name, "replace" if lenient else "strict")
    except UnicodeDecodeError as error:
        line = len(lines_of(data[: error.start].decode(name, "replace")))
        hint = _hint(data, error.start, name)
        raise InputError(f"line {line} is not {name.upper()} text: {hint}") from None
    except ValueError as error:  # an encoding with rules of its own, such as idna
        raise InputError(f"it is not {name.upper()} text: {error}") from None
    return text.replace("\ufeff", "").rstrip("\x1a\r\n")


def lines_of(text: str) -> list[str]:
    """The lines of a text from any system."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _by_its_mark(data: bytes) -> str | None:
    marks = {
        codecs.BOM_UTF32_LE: "utf-32",  # begins as UTF-16's does
        codecs.BOM_UTF32_BE: "utf-32",
        codecs.BOM_UTF16_LE: "utf-16",
        codecs.BOM_UTF16_BE: "utf-16",
    }
    return next((name for mark, name in marks.items() if data.startswith(mark)), None)


def _hint(data: bytes, position: int, name: str) -> str:
    """What may help against the byte there: the encoding of most old lists, if the line makes sense in it."""
    if b"\0" in data and name == "utf-8":
        return "it does not look like a text file"
    start = max(data.rfind(b"\n", 0, position), data.rfind(b"\r", 0, position)) + 1
    line = re.split(rb"[\r\n]", data[start:], maxsplit=1)[0][:40]
    leave_out = "--skip-bad-lines leaves such lines out"
    try:
        read = line.decode("cp1252")
    except UnicodeDecodeError:
        read = ""
    if not read.isprintable() or name != "utf-8" or not read:
        return f"byte 0x{data[position]:02x}; --encoding NAME says what it is, {leave_out}"
    return f"if it should read {read!r}, give --encoding cp1252; {leave_out}"


def entries(text: str, column: int | None, lenient: bool = False) -> tuple[list[Entry], list[str]]:
    """The entries of a list, and remarks on what was noticed.

    They are its lines; or the texts of a JSON list; or, of lines in columns, the first column if tabs
    separate them, and always the `column` (from 1) that was asked for. Comments are left out, which are
    lines that begin with # if the first one does and most do not; so is a header above columns with numbers.
    Raises InputError for lines without that column; with `lenient`, MISSING stands for what they have not.
    """
    if column is None and (words := _json_list(text)) is not None:
        return list(enumerate(words, 1)), ["read as a JSON list"]
    lines, remarks = _without_comments(lines_of(text))
    filled = [line for line in map(str.strip, lines) if line]
    in_tabs = 2 * sum("\t" in line for line in filled) > len(filled)
    if column or in_tabs:
        separator = "\t" if in_tabs else ","
        if column is None:
            remarks.append(
                "there are columns, separated by tabs: the first is read; --column N reads another"
            )
        found, header = _column(lines, separator, column or 1, lenient)
        return found, remarks + header
    commas = {line.count(",") for line in filled}
    if len(filled) > 2 and len(commas) == 1 and commas != {0}:
        remarks.append("every line has as many commas: if they separate columns, --column 1 reads the first")
    return list(enumerate(lines, 1)), remarks


def _json_list(text: str) -> list[str] | None:
    if not text.lstrip().startswith("["):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if all(isinstance(one, str) for one in found) else None


def _without_comments(lines: list[str]) -> tuple[list[str], list[str]]:
    """The lines, those that are comments emptied, and a remark if there are some."""
    first = next((line for line in lines if line.strip()), "")
    if not first.startswith("#"):
        return lines, []
    count = sum(line.startswith("#") for line in lines)
    if 2 * count > sum(bool(line.strip()) for line in lines):
        return lines, []
    kept = ["" if line.startswith("#") else line for line in lines]
    return kept, [f"{count} lines that begin with # left out as comments"]


def _column(
    lines: Iterable[str], separator: str, column: int, lenient: bool
) -> tuple[list[Entry], list[str]]:
    """One column, as the csv module reads it, and a remark if a header was left out."""
    reader = csv.reader(
        io.StringIO("\n".join(lines), newline=""), delimiter=separator, skipinitialspace=separator == ","
    )
    try:
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise InputError(f"line {reader.line_num}: {error}") from None
    for number, row in rows:
        if len(row) < column and not lenient:
            raise InputError(
                f"line {number} has no column {column}: {SEPARATORS[separator]} separate {len(row)} there"
            )
    header = _has_header([row for _, row in rows])
    found = [(number, row[column - 1] if column <= len(row) else MISSING) for number, row in rows[header:]]
    return found, ["the first line left out as a header"] if header else []


def _has_header(rows: list[list[str]]) -> bool:
    """Whether the first row is no number in a column that has numbers everywhere else."""

    def is_number(cell: str) -> bool:
        return bool(re.fullmatch(r"\s*[-+]?[\d.,]*\d[\d.,]*%?\s*", cell))

    if len(rows) < 3:
        return False
    return any(
        not is_number(rows[0][i]) and all(i < len(row) and is_number(row[i]) for row in rows[1:])
        for i in range(len(rows[0]))
    )
