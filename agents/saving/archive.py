"""Zip files of two members: a JSON manifest and the weights, whose hash is in the manifest.

A member is stored uncompressed, so a file is as large as its content, and every size is checked before memory is
allocated. The hash detects damage. It is not a signature: anyone who can change a member can change its hash.
"""

import hashlib
import json
import os
import shlex
import stat
import struct
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from agents.saving.strict_json import check_values, parse_json


class Layout(NamedTuple):
    """A version of the format."""

    version: int
    weights: str
    """name of the member with the weights"""


CURRENT, OLD = Layout(2, "weights.safetensors"), Layout(1, "weights.pt")
MANIFEST = "manifest.json"
FORMAT = "keyhole agent"
LIMIT = 256 * 2**20  # bytes of the weights
MANIFEST_LIMIT = 4 * 2**20
DIRECTORY_LIMIT = 4096  # bytes of the list of members at the end of a zip file
END = struct.Struct("<4s4H2IH")  # last record of a zip file: ..., number of members, bytes and offset of their list
END_MARK, ZIP64_MARK, ZIP64_SIZE = b"PK\x05\x06", b"PK\x06\x07", 20


class BadAgentError(ValueError):
    """A file that is not a complete agent file; the message is one line."""


def write_archive(path: Path, manifest: Mapping[str, Any], weights: bytes, layout: Layout = CURRENT) -> None:
    """Write an archive atomically: a temporary file, fsync, rename.

    Args:
        path: of the archive; an existing file is replaced.
        manifest: JSON values.
        weights: content of the other member.
        layout: version of the format.

    Raises:
        ValueError: the manifest or the weights could not be read back: they are too large, or a number is not finite.
        OSError: the file cannot be written.
    """
    hashes = {layout.weights: hashlib.sha256(weights).hexdigest()}
    head = {"format": FORMAT, "version": layout.version, **manifest, "sha256": hashes}
    check_values(head)
    text = json.dumps(head, indent=2).encode()
    for name, content, limit in ((MANIFEST, text, MANIFEST_LIMIT), (layout.weights, weights, LIMIT)):
        if len(content) > limit:
            raise ValueError(f"an agent with {len(content)} bytes of {name} cannot be saved; the limit is {limit}")
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as fresh:
        try:
            with ZipFile(fresh, "w", ZIP_STORED) as file:
                file.writestr(ZipInfo(MANIFEST), text)  # with a fixed date: equal agents are equal files
                file.writestr(ZipInfo(layout.weights), weights)
            fresh.flush()
            os.fsync(fresh.fileno())
            os.chmod(fresh.name, 0o644)
            os.replace(fresh.name, path)
        finally:
            Path(fresh.name).unlink(missing_ok=True)


def read_archive(path: Path, layout: Layout = CURRENT) -> tuple[dict[str, Any], bytes]:
    """Read an archive.

    Args:
        path: of the archive.
        layout: version of the format; an archive of another version is refused.

    Returns:
        The manifest without the entries that describe the archive, and the content of the weights.

    Raises:
        BadAgentError: the file is damaged, too large, or not an archive with these members.
        OSError: the file cannot be read.
    """
    if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for a writer
        raise unreadable(path, "it is not a regular file")
    try:
        with path.open("rb") as opened:
            _check_directory(path, opened)
            with ZipFile(opened) as file:
                _check_members(path, file.infolist(), layout)
                text, weights = file.read(MANIFEST), file.read(layout.weights)
    except BadAgentError:
        raise
    except (BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError, struct.error) as error:
        raise unreadable(path, f"it is not a complete zip file ({error})") from None
    manifest = _manifest(path, text, layout)
    if manifest.pop("sha256") != {layout.weights: hashlib.sha256(weights).hexdigest()}:
        raise unreadable(path, f"{layout.weights} is damaged: its hash differs from the manifest's")
    return manifest, weights


def unreadable(path: Path, reason: str) -> BadAgentError:
    """The error for a file that cannot be read; the caller raises it."""
    return BadAgentError(escaped(f"{path} is not a keyhole agent file: {reason[:500]}; pass the agent.zip of a run"))


def escaped(text: str) -> str:
    """Text on one line: line breaks and all other characters that control a terminal become escape sequences."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def _check_directory(path: Path, file: BinaryIO) -> None:
    """Check the size of the file and of its list of members, which `ZipFile` reads completely."""
    size = file.seek(0, os.SEEK_END)
    if size > LIMIT + MANIFEST_LIMIT + 2 * DIRECTORY_LIMIT:
        raise unreadable(path, f"it is larger than {(LIMIT + MANIFEST_LIMIT) // 2**20} MiB")
    file.seek(max(size - END.size - ZIP64_SIZE, 0))
    tail = file.read()
    if len(tail) < END.size or not tail[-END.size :].startswith(END_MARK):
        raise unreadable(path, "it is not a complete zip file (its last bytes are not those of a zip file)")
    *_, length, _, comment = END.unpack(tail[-END.size :])
    if length > DIRECTORY_LIMIT or comment or tail.startswith(ZIP64_MARK):
        raise unreadable(path, "its list of members has another form than that of an agent file")


def _check_members(path: Path, members: Collection[ZipInfo], layout: Layout) -> None:
    found, names = sorted(member.filename for member in members), sorted((MANIFEST, layout.weights))
    if found == sorted((MANIFEST, OLD.weights)) and layout != OLD:
        advice = f"convert it with `keyhole convert {shlex.quote(str(path))}`"
        raise BadAgentError(escaped(f"{path} is an agent file of format {OLD.version}, which is not read; {advice}"))
    if found == sorted((MANIFEST, CURRENT.weights)) and layout != CURRENT:
        raise BadAgentError(escaped(f"{path} has format {CURRENT.version} already; there is nothing to convert"))
    if found != names:
        shown = ", ".join(repr(name[:40]) for name in found[:5]) + (", ..." if len(found) > 5 else "")
        raise unreadable(path, f"its members are {shown or 'none'}, not {', '.join(names)}")
    if min(member.header_offset for member in members):
        raise unreadable(
            path, "its first member is not at the beginning of the file: bytes are missing or were added in front"
        )
    for member in members:
        if member.compress_type != ZIP_STORED or member.compress_size != member.file_size or member.flag_bits & 1:
            raise unreadable(path, f"{member.filename} is compressed or encrypted; keyhole stores members uncompressed")
        limit = MANIFEST_LIMIT if member.filename == MANIFEST else LIMIT
        if member.file_size > limit:
            raise unreadable(path, f"{member.filename} is larger than {limit // 2**20} MiB")


def _manifest(path: Path, text: bytes, layout: Layout) -> dict[str, Any]:
    """Parse the manifest and remove its format and version."""
    try:
        manifest = parse_json(text) if layout == CURRENT else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise unreadable(path, f"{MANIFEST} is not valid JSON ({error})") from None
    if not isinstance(manifest, dict) or manifest.pop("format", None) != FORMAT:
        raise unreadable(path, f"{MANIFEST} does not have format {FORMAT!r}")
    version = manifest.pop("version", None)
    if type(version) is not int or version != layout.version:
        raise unreadable(
            path, f"its format version is {str(version)[:40]!r}; this version of keyhole reads {layout.version}"
        )
    if not isinstance(manifest.get("sha256"), dict):
        raise unreadable(path, f"{MANIFEST} lists no hashes")
    return manifest
