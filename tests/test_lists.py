"""Lists as people have them, and inputs that are no lists: what is read, what is said, what is refused."""

from __future__ import annotations

import codecs
import json
import re

import pytest

from autollm import cli, train
from autollm.errors import InputError
from autollm.learning.words import read_words

SKIP = {"skip_bad_lines": True}
EMMA = ["emma", "liam", "zoé"]
TEXT = "emma\nliam\nzoé\n"
TABLE = "name,gender,count\nemma,F,10\nliam,M,9\nzoé,F,8\n"
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\2\0\0\0\x90wS\xde"

# name: content, options, the words, what the remark says (none: no remark).
READ = {
    "plain": (TEXT, {}, EMMA, ""),
    "without a last newline": (TEXT[:-1], {}, EMMA, ""),
    "DOS lines": (TEXT.replace("\n", "\r\n"), {}, EMMA, ""),
    "old Macintosh lines": (TEXT.replace("\n", "\r"), {}, EMMA, ""),
    "mixed lines": ("emma\r\nliam\rzoé\n", {}, EMMA, ""),
    "blank lines and spaces": ("\n\n  emma \n\t\n liam\t\n zoé\n\n", {}, EMMA, ""),
    "spaces that do not break": ("\u00a0emma\u00a0\nliam\u3000\nzoé", {}, EMMA, ""),
    "a mark at the beginning": ("\ufeff" + TEXT, {}, EMMA, ""),
    "a mark in the middle, where files were joined": ("emma\n\ufeffliam\nzoé", {}, EMMA, ""),
    "an end of file as DOS has it": (TEXT + "\x1a", {}, EMMA, ""),
    "the same, with lines after it": (TEXT + "\x1a\r\n\r\n", {}, EMMA, ""),
    "UTF-16, little end first": (codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"), {}, EMMA, ""),
    "UTF-16, big end first": (codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"), {}, EMMA, ""),
    "UTF-32": (codecs.BOM_UTF32_LE + TEXT.encode("utf-32-le"), {}, EMMA, ""),
    "UTF-32, big end first": (codecs.BOM_UTF32_BE + TEXT.encode("utf-32-be"), {}, EMMA, ""),
    "the given encoding counts": (b"\xff\xfea\nb", {"encoding": "latin-1"}, ["ÿþa", "b"], ""),
    "UTF-16 without a mark": (TEXT.encode("utf-16-le"), {"encoding": "utf-16-le"}, EMMA, ""),
    "Latin 1": (TEXT.encode("latin-1"), {"encoding": "latin-1"}, EMMA, ""),
    "Windows": ("emma\nliam\n‘Œil’".encode("cp1252"), {"encoding": "cp1252"}, ["emma", "liam", "‘Œil’"], ""),
    "Russian": ("Анна\nПётр".encode("koi8-r"), {"encoding": "koi8-r"}, ["Анна", "Пётр"], ""),
    "Japanese": ("花子\n太郎".encode("shift_jis"), {"encoding": "shift_jis"}, ["花子", "太郎"], ""),
    "a bad line": (b"emma\nol\xffivia\nliam\n", SKIP, ["emma", "liam"], "1 bad lines"),
    "bad lines": (b"emma\n\xff\n\0\nliam\n", SKIP, ["emma", "liam"], "2 bad lines"),
    "nothing visible, skipped": ("emma\n\u200b\nliam", SKIP, ["emma", "liam"], "1 bad"),
    "half a character, skipped": ('["a", "b", "\\ud800"]', SKIP, ["a", "b"], "1 bad lines"),
    "a mark for what was lost, in the text": ("emma\nl\ufffdam", {}, ["emma", "l\ufffdam"], ""),
    "a short row, skipped": ("a,1\nb\nc,3", SKIP | {"column": 2}, ["1", "3"], "1 bad lines"),
    "repetitions": ("emma\nliam\nemma\nzoé", {}, EMMA, ""),
    "composed and not": ("emma\nliam\nzoé\nzoe\u0301", {}, EMMA, ""),
    "joiners inside words": ("क्\u200dष\nमी\n👩\u200d👧", {}, ["क्\u200dष", "मी", "👩\u200d👧"], ""),
    "a soft hyphen inside": ("an\u00adna\nliam", {}, ["an\u00adna", "liam"], ""),
    "a line separator inside": ("a\u2028b\nc", {}, ["a\u2028b", "c"], ""),
    "right to left": ("שרה\nמשה\n\u200fנועה", {}, ["שרה", "משה", "\u200fנועה"], ""),
    "with spaces and dots": ("New York\nSt. John's\nR2-D2", {}, ["New York", "St. John's", "R2-D2"], ""),
    "comments above": ("#!note: from\n# towns\n\n" + TEXT, {}, EMMA, "2 lines that begin with #"),
    "comments below a blank line": ("\n# towns\n" + TEXT, {}, EMMA, "1 lines that begin with #"),
    "comments among words": ("# a\nemma\n# b\nliam\nzoé\n", {}, EMMA, "2 lines that begin with #"),
    "as many comments as words": ("# a\nemma\n# b\nliam", {}, ["emma", "liam"], "2 lines that begin with #"),
    "a comment, and an indented mark": ("# a\n #b\nliam\nzoé", {}, ["#b", "liam", "zoé"], "^1 lines that"),
    "hashtags": ("#one\n#two\nthree", {}, ["#one", "#two", "three"], ""),
    "a hashtag among words": ("one\n#two\nthree", {}, ["one", "#two", "three"], ""),
    "tabs": (TABLE.replace(",", "\t"), {}, EMMA, "the first is read; --column .* as a header"),
    "tabs, the second column": ("1\temma\n2\tliam\n3\tzoé", {"column": 2}, EMMA, ""),
    "a tab in one line": ("emma\tF\nliam\tM\nzoé", {}, EMMA, "the first is read"),
    "commas": ("emma,F\nliam,M\nzoé,F\n", {}, ["emma,F", "liam,M", "zoé,F"], "--column 1 reads the first"),
    "commas, the first column": (TABLE, {"column": 1}, EMMA, "the first line left out as a header"),
    "commas, the second column": (TABLE, {"column": 2}, ["F", "M"], "header"),
    "numbers of any kind": ("x,y\nemma,-1.5%\nliam,+2,000", {"column": 1}, ["emma", "liam"], "a header"),
    "columns without numbers": ("name,x\nemma,F\nliam,M", {"column": 1}, ["name", "emma", "liam"], ""),
    "quoted commas": ('"Smith, J.",1\n"Li, ""W""",2', {"column": 1}, ["Smith, J.", 'Li, "W"'], ""),
    "a quoted comma after a space": ('1, "Smith, J."\n2, Li', {"column": 2}, ["Smith, J.", "Li"], ""),
    "two lines are no table": ("name,count\nemma,10", {"column": 1}, ["name", "emma"], ""),
    "spaces after commas": ("1, emma\n2, liam\n3, zoé", {"column": 2}, EMMA, ""),
    "comments above columns": ("# x\na,1\nb,2\nc,3", {"column": 1}, ["a", "b", "c"], "1 lines .* comments"),
    "a comma in some words": ("St. John, NB\nParis\nRome", {}, ["St. John, NB", "Paris", "Rome"], ""),
    "a JSON list": (json.dumps(EMMA), {}, EMMA, "read as a JSON list"),
    "a JSON list on many lines": (json.dumps(EMMA, indent=1), {}, EMMA, "read as a JSON list"),
    "a JSON list below a blank line": ("\n " + json.dumps(EMMA), {}, EMMA, "read as a JSON list"),
    "a JSON list that is read by columns": ('["a",\n"b"]', {"column": 1}, ['["a"', "b]"], ""),
    "texts and a number in JSON": ('["a",\n2]', {}, ['["a",', "2]"], ""),
    "a list of numbers in JSON": ("[1,\n2]", {}, ["[1,", "2]"], ""),
    "words in brackets": ("[emma]\n[liam]", {}, ["[emma]", "[liam]"], ""),
    "deep brackets": ("[" * 100_000 + "\nb", {}, ["[" * 100_000, "b"], ""),
    "a word of a megabyte": ("a" * 10**6 + "\nb", {}, ["a" * 10**6, "b"], ""),
    "a built-in list": (None, {}, None, ""),
}  # fmt: skip

# name: content, options, the one line.
REFUSED = {
    "nothing": ("", {}, "at least 2 different words are needed, one a line; found none"),
    "blank lines": ("\n \n\t\n", {}, "found none"),
    "a mark alone": ("\ufeff", {}, "found none"),
    "Ctrl-Z alone": ("\x1a", {}, "found none"),
    "one word": ("emma\nemma\n", {}, "found only one, 'emma'"),
    "comments alone, and a word": ("# a\nemma\n", {}, "found only one"),
    "Latin 1": (b"emma\n1\ncontrase\xf1a\n", {}, "line 3 is not UTF-8 text: .*'contraseña'.* cp1252"),
    "a byte that is nothing": (b"a\nb\r\n\x81\n", {}, "line 3 is not UTF-8 text: byte 0x81; --encoding NAME"),
    "the same in old lines": (b"a\rb\r\x81\r", {}, "line 3 is not UTF-8 text"),
    "Latin 1 in old lines": (b"emma\r1\rcontrase\xf1a\r", {}, "line 3 is .*'contraseña'.* cp1252"),
    "cut in a letter": ("zoé".encode()[:-1], {}, "line 1 is not UTF-8"),
    "halves in UTF-8": (b"\xed\xa0\x80\nb", {}, "line 1 is not UTF-8"),
    "UTF-16 cut": (codecs.BOM_UTF16_LE + b"a\0\n\0b", {}, "line 2 is not UTF-16 text"),
    "another encoding": ("Анна\n".encode("koi8-r"), {"encoding": "ascii"}, "line 1 is not ASCII text"),
    "an encoding with rules": (b"a..b\n", {"encoding": "idna"}, "it is not IDNA text|found"),
    "a NUL": ("emma\nli\0am\n", {}, "line 2 holds control characters"),
    "colours": ("emma\n\x1b[31mred\n", {}, r"line 2 holds .*'\\x1b\[31mred'; --skip-bad-lines"),
    "a long line": ("emma\n" + "a" * 50 + "\a", {}, "line 2 holds .*: 'a{20}'; --skip-bad-lines"),
    "a bell below comments": ("# a\nemma\n# b\nliam\n\a", {}, "line 5 holds control characters"),
    "a bell": ("emma\n\a\n", {}, "line 2 holds control characters"),
    "Ctrl-Z in the middle": ("emma\n\x1a\nliam", {}, "line 2 holds control characters"),
    "a picture": (PNG, {}, "line 1 is not UTF-8 text: it does not look like a text file"),
    "an archive": (b"PK\x03\x04\x14\0\0\0emma\nliam", {}, "line 1 holds control characters"),
    "UTF-16 without a mark": (TEXT[:9].encode("utf-16-le"), {}, "line 1 holds control characters"),
    "nothing visible": ("emma\n\u200b\nliam", {}, "line 2 has nothing visible"),
    "fillers": ("emma\nliam\n\u3164\u3164\n", {}, "line 3 has nothing visible"),
    "marks of direction": ("emma\n\u202e\nliam", {}, "line 2 has nothing visible"),
    "tabs in half of the lines": ("emma\tF\nliam\n", {}, "line 1 holds control characters"),
    "half a character": ('["emma", "\\ud83e", "liam"]', {}, "line 2 holds half a character"),
    "control characters in JSON": ('["emma", "a\\u0000", "liam"]', {}, "line 2 holds control characters"),
    "a column that is not there": ("a,b\nc\n", {"column": 2}, "line 2 has no column 2: commas .* 1 there"),
    "the same of tabs": ("a\tb\nc\td\n", {"column": 3}, "line 1 has no column 3: tabs separate 2 there"),
    "a field too large": ('"' + "a" * 200_000 + '",b\nc,d', {"column": 1}, "field larger than field limit"),
    "an empty column": ("a,\nb,\nc,\n", {"column": 2}, "found none"),
}  # fmt: skip


def write(tmp_path, content):
    path = tmp_path / "words.txt"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def test_there_are_enough_of_them():
    assert len(READ) + len(REFUSED) >= 80


@pytest.mark.parametrize("name", READ)
def test_what_is_read(tmp_path, name):
    content, options, words, remark = READ[name]
    source = "names" if content is None else write(tmp_path, content)
    read = read_words(source, **options)
    assert read.distinct == words or (content is None and len(read.distinct) == 80)
    told = "; ".join(read.remarks)
    assert re.search(remark, told) if remark else told == ""


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(tmp_path, name):
    content, options, line = REFUSED[name]
    path = write(tmp_path, content)
    with pytest.raises(InputError, match=line) as error:
        read_words(path, **options)
    assert str(error.value).startswith(path) and "\n" not in str(error.value)


@pytest.mark.parametrize("blank", ["\u115f", "\u1160", "\u2800", "\u3164", "\uffa0"], ids=ascii)
def test_what_looks_like_nothing(tmp_path, blank):
    with pytest.raises(InputError, match="line 2 has nothing visible"):
        read_words(write(tmp_path, f"emma\n{blank}\nliam"))
    assert read_words(write(tmp_path, f"emma\nli{blank}am")).distinct == ["emma", f"li{blank}am"]


def test_one_remark_says_what_was_noticed(capsys, tmp_path):
    path = write(tmp_path, "# from somewhere\n" + TABLE.replace(",", "\t") + "\x1b\t\t1\n")
    assert train.main(["--data", path, "--steps", "5", "--skip-bad-lines"]) == 0
    remark, *others = capsys.readouterr().err.splitlines()
    assert re.fullmatch(rf"{path}: 1 lines that .*; .*--column N.*; .* header; 1 bad lines left out", remark)
    assert not any(path in line for line in others)


@pytest.mark.parametrize("folder", [True, False])
def test_nothing_in_the_working_folder_changes_a_built_in_list(capsys, tmp_path, monkeypatch, folder):
    monkeypatch.chdir(tmp_path)
    if folder:
        (tmp_path / "names").mkdir()
    else:
        (tmp_path / "names").write_text("one\ntwo\n")
    assert train.main(["--steps", "5", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["words"] == 80
    assert "names: this is the built-in list; ./names is the file that is here" in err
    if not folder:
        assert read_words("./names").distinct == ["one", "two"]


@pytest.mark.parametrize("name", ["klingon", "hex", "", "a\0b", "x" * 300])
def test_encodings_that_there_are_not(capsys, name):
    assert cli.run(lambda: train.main([f"--encoding={name}"])) == 2
    assert "there is no encoding" in capsys.readouterr().err
