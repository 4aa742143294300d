"""Zip files of named members with a JSON manifest that lists the hash of each. Other files are refused unread.

Members are stored uncompressed, so a file is as large as its content. Hashes detect damage. They are not a signature:
anyone who can change a member can change its hash.
"""

import hashlib
import io
import json
import os
import struct
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

MANIFEST = "manifest.json"
FORMAT, VERSION = "keyhole agent", 1
LIMIT = 512 * 2**20  # bytes of all members
MANIFEST_LIMIT = 16 * 2**20


class BadAgentError(ValueError):
    """A file that is not a complete agent file; the message is one line."""


def write_archive(path: Path, manifest: Mapping[str, Any], members: Mapping[str, bytes]) -> None:
    """Write an archive atomically: a temporary file, fsync, rename.

    Args:
        path: of the archive; an existing file is replaced.
        manifest: JSON values.
        members: content by name.

    Raises:
        OSError: the file cannot be written.
    """
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in members.items()}
    head = {"format": FORMAT, "version": VERSION, **manifest, "sha256": hashes}
    packed = io.BytesIO()
    with ZipFile(packed, "w", ZIP_STORED) as file:
        for name, content in {MANIFEST: json.dumps(head, indent=2).encode(), **members}.items():
            file.writestr(ZipInfo(name), content)  # with a fixed date: equal agents are equal files
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as fresh:
        fresh.write(packed.getbuffer())
        fresh.flush()
        os.fsync(fresh.fileno())
    os.chmod(fresh.name, 0o644)
    os.replace(fresh.name, path)


def read_archive(path: Path, names: Collection[str]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Read an archive.

    Args:
        path: of the archive.
        names: the members it must have; it may have no others.

    Returns:
        The manifest, and the content of each member by name.

    Raises:
        BadAgentError: the file is damaged, too large, or not an archive with these members.
        OSError: the file cannot be read.
    """
    try:
        with ZipFile(path) as file:
            _check_members(path, file.infolist(), {MANIFEST, *names})
            content = {name: file.read(name) for name in (MANIFEST, *names)}
    except BadAgentError:
        raise
    except (BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError, struct.error) as error:
        raise unreadable(path, f"it is not a complete zip file ({' '.join(str(error).split())})") from None
    manifest = _manifest(path, content.pop(MANIFEST))
    for name, member in content.items():
        if manifest["sha256"].get(name) != hashlib.sha256(member).hexdigest():
            raise unreadable(path, f"{name} is damaged: its hash differs from the manifest's")
    return manifest, content


def unreadable(path: Path, reason: str) -> BadAgentError:
    """The error for a file that cannot be read; the caller raises it."""
    return BadAgentError(f"{path} is not a keyhole agent file: {reason}; pass the agent.zip of a run")


def _check_members(path: Path, members: Collection[ZipInfo], names: Collection[str]) -> None:
    found = sorted(member.filename for member in members)
    if found != sorted(names):
        shown = ", ".join(repr(name[:40]) for name in found[:5]) + (", ..." if len(found) > 5 else "")
        raise unreadable(path, f"its members are {shown or 'none'}, not {', '.join(sorted(names))}")
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


def _manifest(path: Path, text: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(text)
    except (ValueError, RecursionError):
        raise unreadable(path, f"{MANIFEST} is not valid JSON") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise unreadable(path, f"{MANIFEST} does not have format {FORMAT!r}")
    if manifest.get("version") != VERSION:
        raise unreadable(
            path, f"its format version is {manifest.get('version')!r}; this version of keyhole reads {VERSION}"
        )
    if not isinstance(manifest.get("sha256"), dict):
        raise unreadable(path, f"{MANIFEST} lists no hashes")
    return manifest
