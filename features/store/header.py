"""The first 512 bytes of a part and its checksums: whether a file is a part, whole, and not open for writing elsewhere.

HDF5 marks a file as open for writing in its superblock, so that its bytes differ from their checksum until it is
closed. A part counts as damaged only where it is not so marked and a second reading finds the same.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from stat import S_ISREG
from typing import TypeVar

from .json_files import check_format, parse_object

HEADER_BYTES = 512
CHECK_BYTES = 16 << 20
READ_BYTES = 1 << 20  # at a time: what is read stays in the processor's cache
FORMAT = 3
SUPERBLOCK = b"\x89HDF\r\n\x1a\n\x03"  # signature and version; two bytes on are the flags
OPEN_FLAG = 1  # open for writing

_compared: set[tuple[Path, int, int, int]] = set()  # path, inode, size and time of change of parts found whole

Result = TypeVar("Result")


class StoreError(ValueError):
    """The cache on disk is damaged, foreign, or lacks what was asked of it."""


class PartError(ValueError):
    """What is wrong with a part, without its name and a remedy."""


@dataclass(frozen=True)
class Header:
    """Format version, rows, size of the file, where the embeddings begin, and the checksums before and of all."""

    msa: int
    rows: int
    bytes: int
    data: int
    index: int
    crc32: str


def header_block(header: Header) -> bytes:
    """The header as it is written."""
    text = json.dumps(asdict(header), sort_keys=True, separators=(",", ":")).encode() + b"\n"
    return text.ljust(HEADER_BYTES, b"\0")


def check_twice(path: Path, check: Callable[[], Result]) -> Result:
    """The result of a check of a part; a PartError must be found twice to be raised, as StoreError with its remedy."""
    require_regular(path)
    try:
        return check()
    except PartError:
        pass
    try:
        return check()
    except PartError as fault:
        raise store_error(path, str(fault)) from fault


def check_whole(path: Path) -> None:
    """Compare every byte of a part with its digest. Raises StoreError.

    Parts never change: one that this process has compared is read again only if its file is another one.
    """
    require_regular(path)
    found = path.stat()
    mark = (path.absolute(), found.st_ino, found.st_size, found.st_mtime_ns)
    if mark not in _compared:
        check_twice(path, lambda: check_bytes(path))
        _compared.add(mark)


def store_error(path: Path, fault: str) -> StoreError:
    """The error of a part with a fault: damaged, or merely open for writing in another program."""
    if _open_elsewhere(path):
        return StoreError(
            f"{path}: open for writing in another program; close it there and run again; if that program was killed, "
            f"`h5clear -s {path}` of the HDF5 tools makes the file whole"
        )
    return StoreError(f"{path}: {fault}; delete the file and extract again, or import its rows again")


def require_regular(path: Path) -> None:
    """Raise StoreError for a pipe, device or folder, and for a link to nothing; FileNotFoundError for an absent file.

    Without opening it, as that would wait for the other end of a pipe.
    """
    try:
        regular = S_ISREG(path.stat().st_mode)
    except FileNotFoundError as error:
        if not path.is_symlink():
            raise
        raise StoreError(
            f"{path}: a link to {str(path.readlink())!r}, which is not there; bring that file back, or remove the link"
        ) from error
    if not regular:
        raise StoreError(f"{path}: a part must be a regular file, not a folder, pipe or device; move it elsewhere")


def read_header(path: Path) -> Header:
    """The header of a part of the right size. Raises PartError."""
    with path.open("rb") as file:
        block = file.read(HEADER_BYTES)
    size = path.stat().st_size
    try:
        fields = parse_object(block.rstrip(b"\0").decode())
        check_format(fields.get("msa"), FORMAT)  # before the fields, which may be others in another format
        header = Header(**fields)
        if block != header_block(header):
            raise ValueError("foreign header")
    except (TypeError, ValueError) as error:
        raise PartError(f"not a part written by msa, or damaged ({error})") from error
    if [type(value) for value in astuple(header)] != [int, int, int, int, int, str]:
        raise PartError("its header holds other than whole numbers and a checksum")
    if size != header.bytes:
        raise PartError(f"{header.bytes} bytes were written, {size} are there")
    if header.rows < 1 or not HEADER_BYTES < header.data < size:
        raise PartError(f"{header.rows} rows from byte {header.data} on do not fit into {size} bytes")
    return header


def check_index(path: Path, header: Header) -> None:
    """Compare the bytes before the embeddings with their checksum. Raises PartError."""
    if header.index != index_checksum(path, header.data):
        raise PartError("its bytes differ from its checksum")


def check_bytes(path: Path) -> None:
    """Compare every byte of a part with its digest. Raises PartError."""
    if read_header(path).crc32 != checksum(path):
        raise PartError("its bytes differ from its checksum")


def checksum(path: Path) -> str:
    """Digest of the CRC-32 of each block behind the header; in threads, so that it is as fast as the disk."""

    def block(start: int) -> bytes:
        crc, buffer = 0, memoryview(bytearray(READ_BYTES))
        with path.open("rb") as file:
            file.seek(start)
            for _ in range(0, CHECK_BYTES, READ_BYTES):
                crc = zlib.crc32(buffer[: file.readinto(buffer)], crc)
        return crc.to_bytes(4, "big")

    with ThreadPoolExecutor(4) as pool:
        blocks = pool.map(block, range(HEADER_BYTES, path.stat().st_size, CHECK_BYTES))
        return hashlib.blake2b(b"".join(blocks), digest_size=16).hexdigest()


def index_checksum(path: Path, data: int) -> int:
    """CRC-32 of the bytes between the header and the embeddings: HDF5's own records, the keys and the offsets."""
    with path.open("rb") as file:
        file.seek(HEADER_BYTES)
        return zlib.crc32(file.read(data - HEADER_BYTES))


def _open_elsewhere(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            file.seek(HEADER_BYTES)
            block = file.read(len(SUPERBLOCK) + 3)
    except OSError:
        return False
    return block.startswith(SUPERBLOCK) and bool(block[-1] & OPEN_FLAG)
