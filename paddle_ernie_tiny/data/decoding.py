"""Lines of text files in the encoding that they have: UTF-8, UTF-16 with its mark, GB18030; gzip is unpacked."""

from __future__ import annotations

import codecs
import gzip
import io
import itertools
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from ..errors import InputError, Problems
from ..files import UTF8_REMEDY

Lines = Iterator[tuple[int, str]]
_SAMPLE_BYTES = 1 << 18
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# Of the most frequent characters of Chinese: a third of any text. Other encodings read as GB18030 have few of them.
_FREQUENT = set(
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种事成方多"
    "经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日者意无力它与长把机十民第公此已工使情明性知"
    "全三又关点正业外将两高间由问很最重并物手应向头文体美相见被什二等产或新己制身果加西月话合回特代内信表化老给世位次度门常先通"
    "，。、！？：；（）《》“”"
)


def decoded_lines(path: Path, problems: Problems) -> Lines:
    """(number, text) of every line; one that cannot be decoded is a problem, and blank. It is read once, also a pipe.

    Lines end at LF alone and keep their end; a byte order mark is dropped. UTF-16 is known by its mark. GB18030 is what
    is not UTF-8 where the first byte beyond ASCII stands, decodes as GB18030, and is then Chinese as it is written: in
    the GB2312 set, with the characters that any text is full of. Both are noted. Raises InputError for a damaged file.
    """
    number, encoding, ascii_so_far = 0, "utf-8", True
    with cast(io.BufferedReader, open(path, "rb", buffering=_SAMPLE_BYTES)) as file:
        if file.peek(2)[:2] == b"\x1f\x8b":
            file = io.BufferedReader(cast(io.RawIOBase, gzip.GzipFile(fileobj=file)), _SAMPLE_BYTES)
        try:
            if file.peek(2)[:2] in _UTF16:
                yield from _utf16_lines(file, path, problems)
                return
            if _is_unmarked_utf16(file.peek()):
                raise InputError("UTF-16 without its byte order mark", str(path), "save the file as UTF-8")
            while raw := file.readline():
                number += 1
                raw = raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw
                try:
                    text = raw.decode(encoding)
                except UnicodeDecodeError as error:
                    if encoding == "utf-8" and ascii_so_far and _is_gb18030(raw + file.peek()):
                        encoding = "gb18030"
                        problems.note("note", "it is not UTF-8, and is read as GB18030", str(path))
                        text = raw.decode(encoding)
                    else:
                        near = raw[max(0, error.start - 10) : error.end + 10]
                        name = "UTF-8" if encoding == "utf-8" else "GB18030"
                        problems.add(f"not {name} text, near {near!r}", f"{path}:{number}", UTF8_REMEDY)
                        text = "\n"
                ascii_so_far = ascii_so_far and raw.isascii()
                if raw:
                    yield number, text.lstrip("\ufeff") if number == 1 else text  # GB18030 has a mark too
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            what = f"the gzip file is damaged or cut off: {error}"
            raise InputError(what, f"{path}:{number + 1}", "copy it again, or give it unpacked") from None


def first_text(lines: Lines) -> tuple[str, Lines]:
    """The first line with text ("" or blank: there is none), and all the lines again: what is read once is not lost."""
    begin = []
    for line in lines:
        begin.append(line)
        if line[1].strip():
            break
    return begin[-1][1] if begin else "", itertools.chain(begin, lines)


def _utf16_lines(file: io.BufferedReader, path: Path, problems: Problems) -> Lines:
    problems.note("note", "it is read as UTF-16, as its byte order mark says", str(path))
    try:
        yield from enumerate(io.TextIOWrapper(file, "utf-16", newline="\n"), start=1)
    except UnicodeDecodeError:
        what = "not UTF-16 text, though its byte order mark says so"
        raise InputError(what, str(path), "save the file as UTF-8") from None


def _is_unmarked_utf16(sample: bytes) -> bool:
    """Is every other byte NUL, as in English in UTF-16, or those of the line ends of what is not UTF-8?"""
    if max(sample.count(b"\n\0"), sample.count(b"\0\n")) <= sample.count(b"\n") / 2:
        return False
    try:
        sample[: sample.rfind(b"\n") + 1].decode("utf-8")
    except UnicodeDecodeError:
        return True
    return sample.count(0) > len(sample) / 4


def _is_gb18030(sample: bytes) -> bool:
    """Are these lines Chinese in GB18030 beyond doubt? What is cut off at the end is not looked at."""
    sample = sample[: sample.rfind(b"\n") + 1] or sample
    try:
        characters = [character for character in sample.decode("gb18030") if not character.isascii()]
    except UnicodeDecodeError:
        return False
    common = 0
    for character in characters:
        code = character.encode("gb2312", "ignore")
        common += len(code) == 2 and (0xA1 <= code[0] <= 0xA3 or 0xB0 <= code[0] <= 0xD7)
    frequent = sum(character in _FREQUENT for character in characters)
    return common >= 0.8 * len(characters) and frequent >= 0.2 * len(characters)
