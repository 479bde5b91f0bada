"""Text by the encoding that a file says or shows."""

import gzip

import pytest

from mal_core.data.text import TextError, is_plain, read_text, text_of, write_plain

TEXT = "Äpfel 苹果\nno\n"


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        TEXT.encode("utf-8-sig"),
        TEXT.encode("utf-16"),
        TEXT.encode("utf-32"),
        gzip.compress(TEXT.encode(), mtime=0),
        gzip.compress(TEXT.encode("utf-16"), mtime=0),
    ],
)
def test_text_is_read_as_it_shows(data, tmp_path):
    path = tmp_path / "x"
    path.write_bytes(data)
    assert read_text(path) == TEXT
    write_plain(path, tmp_path / "plain")
    assert (tmp_path / "plain").read_bytes() == TEXT.encode()
    assert is_plain(path) == (data == TEXT.encode())


@pytest.mark.parametrize("encoding", ["gb2312", "GBK", "latin-1", "utf-8", "shift_jis", "big5"])
def test_a_declaration_is_followed(encoding):
    word = "é" if encoding == "latin-1" else "中"
    text = f'<?xml version="1.0" encoding="{encoding}"?>\n<a>{word}</a>'
    assert text_of(text.encode(encoding)) == text


def test_utf_16_without_a_mark_is_seen():
    assert text_of("0 0.5 0.5".encode("utf-16-le")[:18]) == "0 0.5 0.5"
    assert text_of('{"a": 1}'.encode("utf-16-be")) == '{"a": 1}'


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (
            "cat\n苹果\n".encode("gbk"),
            "line 2: byte 0xb9 is not UTF-8. Save the file as UTF-8. It may be GBK: "
            "iconv -f GBK -t UTF-8 FILE > NEW.",
        ),
        (
            b'<?xml version="1.0" encoding="klingon"?>',
            "declares the encoding 'klingon', which is unknown. Save it as UTF-8.",
        ),
        (
            b'<?xml version="1.0" encoding="gb2312"?>\n\xff\xff',
            "line 2: byte 0xff is not GB18030, which the file shows as its encoding. "
            "Save it as UTF-8.",
        ),
        (b"cat\ndog\0\n", "line 2 has a NUL character. Is it a text file?"),
        (b"PK\x03\x04rest", "is a zip archive. Unpack it."),
        (b"\x28\xb5\x2f\xfdrest", "is zstd. Unpack it."),
        (gzip.compress(b"cat", mtime=0)[:-4], "is gzip that ends too early. Is the file complete?"),
    ],
)
def test_what_is_no_text_is_refused_with_its_line(data, said, tmp_path):
    path = tmp_path / "x"
    path.write_bytes(data)
    with pytest.raises(TextError) as caught:
        read_text(path)
    assert str(caught.value) == said


def test_a_small_file_that_unpacks_to_gigabytes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("mal_core.data.text.SMALLEST_BOMB", 1 << 20)
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(bytes(4 << 20)))
    with pytest.raises(TextError, match="gzip that unpacks to more than 1 MiB"):
        write_plain(path, tmp_path / "plain")
    assert not (tmp_path / "plain").exists()
