"""Tar files that are read where they lie: no member is unpacked, and none is read through a link."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from msa.features.posts.containers.tar import Member, list_members
from msa.features.spec import BadItem


def write(file: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(file, mode) as archive:  # type: ignore[call-overload]
        for name, raw in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(raw)
            archive.addfile(info, io.BytesIO(raw))
    return file


def test_members_are_listed_and_read_in_place(tmp_path: Path) -> None:
    members = {"a/1.jpg": b"one" * 500, "../../etc/passwd.jpg": b"two", "n" * 200 + ".jpg": b""}
    found = list(list_members(write(tmp_path / "x.tar", members)))
    assert [(one.path, one.read(1000)) for one in found if isinstance(one, Member)] == [
        ("a/1.jpg", (b"one" * 500)[:1001]),
        ("../../etc/passwd.jpg", b"two"),  # a name, and no path
        ("n" * 200 + ".jpg", b""),
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["x.tar"]


def test_links_and_devices_are_named_and_not_read(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE):
            info = tarfile.TarInfo(f"{kind.decode()}.jpg")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    found = list(list_members(tmp_path / "x.tar"))
    assert len(found) == 3
    assert all(isinstance(one, str) and "a link or a device, which is not read" in one for one in found)


def test_what_breaks_off_is_named_and_what_precedes_it_is_read(tmp_path: Path) -> None:
    file = write(tmp_path / "x.tar", {"1.jpg": b"one", "2.jpg": b"two" * 1000})
    file.write_bytes(file.read_bytes()[:2000])
    first, second, *rest = list_members(file)
    assert isinstance(first, Member)
    assert first.read(10) == b"one"
    assert isinstance(second, Member)
    with pytest.raises(BadItem, match=r"x\.tar ends inside it; copy the tar file again"):
        second.read(10_000)
    assert all(isinstance(one, str) and "it breaks off" in one for one in rest)


@pytest.mark.parametrize("mode", ["w:gz", "no tar file"])
def test_compressed_files_and_others_are_refused(tmp_path: Path, mode: str) -> None:
    file = tmp_path / "x.tar"
    if mode == "w:gz":
        write(file, {"1.jpg": b"one"}, mode)
    else:
        file.write_bytes(b"no tar file" * 100)
    with pytest.raises(ValueError, match=r"cannot read .*x\.tar: [^\n]*; a shard is a tar file that is not compressed"):
        list(list_members(file))
