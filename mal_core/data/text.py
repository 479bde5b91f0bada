"""Bytes of a text file -> text, by what the file says or shows of its encoding."""

import codecs
import contextlib
import gzip
import re
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from mal_core.processes.files import atomic_path

GZIP = b"\x1f\x8b"
PACKED = {
    b"PK\x03\x04": "a zip archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}
BOMS = (  # UTF-32 before UTF-16, whose mark begins it
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
DECLARED = re.compile(rb"""^\s*<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")
WIDER = {"gb2312": "gb18030", "gbk": "gb18030", "euc_kr": "cp949", "shift_jis": "cp932"}
"""Encodings by whose names people mean the code page of their Windows, which has more."""
GUESSES = (("gb18030", "GBK"), ("cp1252", "Windows-1252 (latin-1)"))
LARGEST_TEXT = 64 << 20
"""Bytes of a label file, a list or class names; real ones have some kilobytes."""
LARGEST_RATIO, SMALLEST_BOMB = 200, 256 << 20
"""JSON packs to a tenth; what unpacks to far more, and to much, is no annotation file."""


class TextError(ValueError):
    """Why a file is no text that can be read, and what to do; without the file's name."""


def read_text(path: Path) -> str:
    """The text of a small file, gzip unpacked, line ends as they are.

    Its encoding is that of its byte order mark, of its XML declaration, UTF-16 where every
    second byte is NUL, else UTF-8.

    Raises:
        TextError: It is something else; the message names the line.
        FileNotFoundError: There is no such file.
    """
    return text_of(_read_bytes(path))


def text_of(data: bytes) -> str:
    """The text of bytes, as `read_text` does.

    Raises:
        TextError: They are no text.
    """
    encoding = _shown_encoding(data)
    try:
        text = data.decode(encoding)
    except LookupError as error:
        message = f"declares the encoding {encoding!r}, which is unknown. Save it as UTF-8."
        raise TextError(message) from error
    except UnicodeDecodeError as error:
        raise TextError(_undecodable(data, encoding, error)) from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        message = f"line {line} has a NUL character. Is it a text file?"
        raise TextError(message)
    return text


def _read_bytes(path: Path) -> bytes:
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "no regular file"
        message = f"is {kind}. Give a file."
        raise TextError(message)
    try:
        with path.open("rb") as stream:
            data = stream.read(LARGEST_TEXT + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        message = f"cannot be read: {error.strerror}."
        raise TextError(message) from error
    if data.startswith(GZIP):
        data = _unpacked(data)
    for start, kind in PACKED.items():
        if data.startswith(start):
            message = f"is {kind}. Unpack it."
            raise TextError(message)
    if len(data) > LARGEST_TEXT:
        message = f"is larger than {LARGEST_TEXT >> 20} MiB, which no such file is."
        raise TextError(message)
    return data


def _unpacked(data: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        text = unpacker.decompress(data, LARGEST_TEXT + 1)
    except zlib.error as error:
        message = f"is broken gzip: {error}. Is the file complete?"
        raise TextError(message) from error
    if not unpacker.eof and len(text) <= LARGEST_TEXT:
        message = "is gzip that ends too early. Is the file complete?"
        raise TextError(message)
    return text


def _shown_encoding(data: bytes) -> str:
    for mark, encoding in BOMS:
        if data.startswith(mark):
            return encoding
    if len(data) >= 4 and len(data) % 2 == 0:
        even, odd = data[:64:2].count(0), data[1:64:2].count(0)
        if max(even, odd) >= len(data[:64:2]) / 2 and min(even, odd) == 0:
            return "utf-16-be" if even else "utf-16-le"
    declared = DECLARED.match(data[:1000])
    if declared is None:
        return "utf-8"
    name = declared[1].decode("ascii")
    try:
        known = codecs.lookup(name).name
    except LookupError:
        return name
    # A declaration that could be read byte by byte is not of UTF-16, whatever it says.
    return "utf-8" if known.startswith(("utf-16", "utf-32")) else WIDER.get(known, known)


def _undecodable(data: bytes, encoding: str, error: UnicodeDecodeError) -> str:
    line = data[: error.start].count(b"\n") + 1
    seen = f"line {line}: byte 0x{data[error.start]:02x} is not {encoding.upper()}"
    if encoding != "utf-8":
        return f"{seen}, which the file shows as its encoding. Save it as UTF-8."
    for codec, name in GUESSES:
        try:
            data.decode(codec)
        except UnicodeDecodeError:
            continue
        code = "GBK" if codec == "gb18030" else "CP1252"
        hint = f"It may be {name}: iconv -f {code} -t UTF-8 FILE > NEW."
        return f"{seen}. Save the file as UTF-8. {hint}"
    return f"{seen}. Save the file as UTF-8."


def is_plain(path: Path) -> bool:
    """Whether a file's start is neither gzip nor another encoding than UTF-8 without a mark."""
    try:
        with path.open("rb") as stream:
            start = stream.read(64)
    except OSError:
        return True  # whoever reads it says what is wrong
    packed = start.startswith(GZIP)
    return not packed and (_shown_encoding(start) == "utf-8" or start.lstrip()[:1] == b"<")


def write_plain(source: Path, target: Path) -> None:
    """A copy of a large text file in UTF-8, unpacked and without a byte order mark.

    Raises:
        TextError: It is broken gzip, or unpacks to far more than text does.
    """
    with atomic_path(target) as temporary:
        _unpack(source, temporary)
        with temporary.open("rb") as stream:
            encoding = _shown_encoding(stream.read(64))
        if encoding == "utf-8":
            return
        try:
            with (
                atomic_path(temporary) as recoded,
                temporary.open(encoding=encoding, newline="") as text,
                recoded.open("w", encoding="utf-8", newline="") as out,
            ):
                shutil.copyfileobj(text, out)
        except UnicodeError as error:
            message = f"is not {encoding.upper()}, which its first bytes show: {error}."
            raise TextError(message) from error


def _unpack(source: Path, target: Path) -> None:
    with source.open("rb") as stream:
        packed = stream.read(2) == GZIP
    if not packed:
        shutil.copyfile(source, target)
        return
    with unpacked(source) as stream, target.open("wb") as out:
        shutil.copyfileobj(stream, out, 1 << 20)


@contextlib.contextmanager
def unpacked(source: Path) -> Iterator[BinaryIO]:
    """The content of a gzip file, in pieces.

    Raises:
        TextError: It is broken gzip, or unpacks to far more than text does.
    """
    try:
        with source.open("rb") as packed, _Limited(packed, source) as stream:
            yield cast(BinaryIO, stream)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        message = f"is broken gzip: {error}. Is the file complete?"
        raise TextError(message) from error


class _Limited(gzip.GzipFile):
    """Gzip that ends with an error beyond the size that a file of text may have."""

    def __init__(self, packed: BinaryIO, source: Path) -> None:
        super().__init__(fileobj=packed, mode="rb")
        self._most = max(SMALLEST_BOMB, LARGEST_RATIO * source.stat().st_size)

    def read(self, size: int | None = -1) -> bytes:
        """Read on, as `GzipFile` does.

        Raises:
            TextError: That is more than a file of text has.
        """
        everything = size is None or size < 0
        data = super().read(self._most + 1 - self.tell() if everything else size)
        if self.tell() > self._most:
            message = f"is gzip that unpacks to more than {self._most >> 20} MiB. Unpack it."
            raise TextError(message)
        return data
