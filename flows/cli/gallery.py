"""Implements `keyhole gallery`: draws worlds as the agent and as the overseer see them, and writes the page."""

import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from envs.enumeration import compile_world
from flows.cli.commands import world_statement
from flows.cli.settings import parse_arguments
from flows.config import with_module
from flows.environments import make_env
from flows.errors import UserError
from flows.reporting.gallery import FOLDER, Section, gallery_figure, gallery_page
from flows.sweep.checks import check_environment
from flows.text import printable
from flows.tracking.certificates import certificate_of

PAGE = "gallery.md"
OURS = "keyhole/"


def write_gallery(names: Sequence[str], arguments: Iterable[str], out: str) -> None:
    """Writes gallery.md and a figure for each world.

    Without names the worlds are keyhole's own, and one that cannot be drawn is named with the reason.

    Args:
        names: Gymnasium ids; empty for every world of keyhole.
        arguments: Of each of them, NAME=VALUE.
        out: The folder.

    Raises:
        UserError: The folder cannot be written, or a world that is named cannot be drawn.
    """
    texts = tuple(arguments)
    parsed, folder = parse_arguments(texts), Path(out)
    try:
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {out} ({error.strerror})") from None
    sections: list[Section] = []
    missing: list[tuple[str, str]] = []
    for env_id in names or sorted(name for name in gymnasium.registry if name.startswith(OURS)):
        try:
            section, picture = draw_world(env_id, parsed)
        except UserError as error:
            if names:
                raise
            print(f"keyhole: {env_id} is not drawn: {error}", file=sys.stderr, flush=True)
            missing.append((env_id, printable(str(error))))
            continue
        path = folder / FOLDER / f"{section.name}.png"
        path.write_bytes(picture)
        print(f"{path}: {len(picture) / 1000:.0f} kB", flush=True)
        sections.append(section)
    words = [*names, *(word for text in texts for word in ("--set", text)), "--out", out]
    page = gallery_page(sections, missing, f"keyhole gallery {shlex.join(words)}")
    (folder / PAGE).write_text(page, encoding="utf-8")
    print(folder / PAGE)


def draw_world(name: str, arguments: dict[str, Any]) -> tuple[Section, bytes]:
    """Draws one world.

    Args:
        name: Its Gymnasium id.
        arguments: Its arguments and those of its overseer.

    Returns:
        What the page shows of it, and its figure as a PNG.

    Raises:
        UserError: The environment is invalid or has no tables.
    """
    env_id = with_module(name)
    check_environment(env_id, arguments, "ppo")
    certificate = certificate_of(env_id, arguments)
    world: Any = make_env(env_id, arguments, copies=1)
    if not hasattr(world, "picture"):
        raise UserError(f"environment {name!r} has tables and no picture(state); derive it from envs.POMDP")
    tables = compile_world(world)
    short = name.rpartition(":")[2]
    title = short.removeprefix(OURS).rpartition("-v")[0].replace("/", "-")
    section = Section(
        name=title,
        env_id=name,
        statement=world_statement(gymnasium.spec(short)),
        arguments=", ".join(f"{key}={value}" for key, value in arguments.items()),
        certificate=certificate,
        observations=len(tables.observations),
        labels=len(np.unique(tables.overseer_obs)),
    )
    return section, gallery_figure(world, tables, title)
