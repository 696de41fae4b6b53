#!/usr/bin/env python3
"""Writes tests/model/data/tar/*.tar: the same members in every form of tar archives that Python writes.

    ustar.tar, gnu.tar, pax.tar   by tarfile; gnu and pax with a name of 300 bytes, which ustar cannot have
    gnu_size.tar                  a size as GNU's binary number
    pax_size.tar                  a size in a pax record, the header's own being 0
"""

import io
import pathlib
import tarfile

FOLDER = pathlib.Path(__file__).parent.parent / "tests" / "model" / "data" / "tar"
LONG = "folder/" + "n" * 289 + ".txt"


def members(long_names: bool) -> list[tuple[str, bytes]]:
    names = ["a.jpg", "a.cls", "deep/er/" + "p" * 100 + "/b.jpg", "empty"]
    return [(name, name.encode() * 3 if name != "empty" else b"") for name in names + [LONG] * long_names]


def archive(kind: int, long_names: bool) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=kind) as tar:
        folder = tarfile.TarInfo("deep")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "a.jpg"
        tar.addfile(link)
        for name, content in members(long_names):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def with_checksum(header: bytearray) -> bytes:
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def block(content: bytes) -> bytes:
    return content + bytes(-len(content) % 512)


def sized(binary: bool) -> bytes:
    info = tarfile.TarInfo("a.jpg")
    info.size = 3
    header = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    header[124:136] = b"\x80" + (3).to_bytes(11, "big") if binary else b"%011o\0" % 0
    before = b""
    if not binary:
        record = b"10 size=3\n"
        pax = tarfile.TarInfo("pax")
        pax.type, pax.size = tarfile.XHDTYPE, len(record)
        before = pax.tobuf(tarfile.USTAR_FORMAT) + block(record)
    return before + with_checksum(header) + block(b"abc") + bytes(1024)


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "ustar.tar").write_bytes(archive(tarfile.USTAR_FORMAT, False))
    (FOLDER / "gnu.tar").write_bytes(archive(tarfile.GNU_FORMAT, True))
    (FOLDER / "pax.tar").write_bytes(archive(tarfile.PAX_FORMAT, True))
    (FOLDER / "gnu_size.tar").write_bytes(sized(True))
    (FOLDER / "pax_size.tar").write_bytes(sized(False))


if __name__ == "__main__":
    main()
