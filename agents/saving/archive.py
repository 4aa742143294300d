"""Named members in a zip file, with a manifest in JSON that lists the hash of each. Anything else is refused unread.

Members are stored, not compressed: a file is as large as what it unpacks to. Hashes find damage; they are no
signature, for who can change a member can change its hash.
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
    """A file that is no whole agent: one line says what it is instead."""


def write_archive(path: Path, manifest: Mapping[str, Any], members: Mapping[str, bytes]) -> None:
    """Writes the archive in one piece: what was at `path` stays until the new file is complete on the disk."""
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in members.items()}
    head = {"format": FORMAT, "version": VERSION, **manifest, "sha256": hashes}
    packed = io.BytesIO()
    with ZipFile(packed, "w", ZIP_STORED) as file:
        for name, content in {MANIFEST: json.dumps(head, indent=2).encode(), **members}.items():
            file.writestr(ZipInfo(name), content)  # a fixed date: equal agents are equal files
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as fresh:
        fresh.write(packed.getbuffer())
        fresh.flush()
        os.fsync(fresh.fileno())
    os.chmod(fresh.name, 0o644)
    os.replace(fresh.name, path)


def read_archive(path: Path, names: Collection[str]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The manifest, and the members of exactly these names.

    Raises:
        BadAgentError: the file is damaged, foreign, or too large.
        OSError: it cannot be read.
    """
    try:
        with ZipFile(path) as file:
            _check_members(path, file.infolist(), {MANIFEST, *names})
            content = {name: file.read(name) for name in (MANIFEST, *names)}
    except BadAgentError:
        raise
    except (BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError, struct.error) as error:
        raise unreadable(path, f"it is no zip file, or not all of one ({' '.join(str(error).split())})") from None
    manifest = _manifest(path, content.pop(MANIFEST))
    for name, member in content.items():
        if manifest["sha256"].get(name) != hashlib.sha256(member).hexdigest():
            raise unreadable(path, f"{name} is not what was saved: its hash is another than the manifest's")
    return manifest, content


def unreadable(path: Path, reason: str) -> BadAgentError:
    """What is wrong with a file, and what to do."""
    return BadAgentError(f"{path} holds no agent of keyhole: {reason}; give an agent.zip of a run")


def _check_members(path: Path, members: Collection[ZipInfo], names: Collection[str]) -> None:
    found = sorted(member.filename for member in members)
    if found != sorted(names):
        shown = ", ".join(repr(name[:40]) for name in found[:5]) + (", ..." if len(found) > 5 else "")
        raise unreadable(path, f"its members are {shown or 'none'}, not {', '.join(sorted(names))}")
    if min(member.header_offset for member in members):
        raise unreadable(
            path, "the file does not begin with the first of its members: something is missing or in front"
        )
    for member in members:
        if member.compress_type != ZIP_STORED or member.compress_size != member.file_size or member.flag_bits & 1:
            raise unreadable(path, f"{member.filename} is compressed or encrypted, and keyhole stores it as it is")
        limit = MANIFEST_LIMIT if member.filename == MANIFEST else LIMIT
        if member.file_size > limit:
            raise unreadable(path, f"{member.filename} is larger than {limit // 2**20} MiB")


def _manifest(path: Path, text: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(text)
    except (ValueError, RecursionError):
        raise unreadable(path, f"{MANIFEST} is no JSON") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise unreadable(path, f"{MANIFEST} does not say format {FORMAT!r}")
    if manifest.get("version") != VERSION:
        raise unreadable(path, f"it is of format version {manifest.get('version')!r} and this keyhole reads {VERSION}")
    if not isinstance(manifest.get("sha256"), dict):
        raise unreadable(path, f"{MANIFEST} lists no hashes")
    return manifest
