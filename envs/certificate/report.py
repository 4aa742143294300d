"""Renders a certificate as text for the terminal and as a self-contained HTML page with the aliased pairs drawn."""

import base64
import html as markup
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from envs import drawing
from envs.certificate.agents import STATE, STOCHASTIC, AgentFigures
from envs.certificate.aliasing import AliasedPair, AliasedStep
from envs.certificate.certify import Certificate

SECTIONS = {
    "Returns": (
        ("true optimum J*", "optimal_return"),
        ("enforceable W, worst ties", "enforceable_return"),
        ("enforceable W, uniform ties", "enforceable_return_uniform_ties"),
        ("naive optimum, worst ties", "naive_optimum_return_worst_ties"),
        ("naive optimum, uniform ties", "naive_optimum_return"),
        ("naive optimum, believed", "naive_optimum_believed_return"),
        ("true optimum, believed", "optimum_believed_return"),
        ("bounds from what is observed", "manski_interval"),
        ("memoryless, deterministic", "memoryless_return.deterministic"),
        ("memoryless, stochastic", "memoryless_return.stochastic"),
        ("full memory", "remembering_return"),
    ),
    "Regret of naive oversight, worst ties": (
        ("unenforceable, J* - W", "regret.unenforceable"),
        ("of it unobservable by the agent", "regret.unobservable"),
        ("misspecified, W - naive", "regret.misspecified"),
    ),
    "What the overseer cannot distinguish": (
        ("alias gap", "alias_gap"),
        ("aliased pairs of steps", "aliased_pairs.count"),
        ("permanently aliased blocks", "permanently_aliased_blocks"),
        ("the same, for the agent", "permanently_aliased_blocks_of_agent"),
        ("ambiguity of the reward", "ambiguity_dimension"),
        ("positivity, without flags", "positivity"),
        ("positivity, with flags", "positivity_with_flags"),
    ),
    "Misestimation of the naive optimum, uniform ties": (
        ("overestimation error", "overestimation_error"),
        ("underestimation error", "underestimation_error"),
        ("overestimation error of optimum", "overestimation_error_of_optimum"),
        ("underestimation error of optimum", "underestimation_error_of_optimum"),
        ("deceptive inflation", "deceptive_inflation"),
        ("overjustification", "overjustification"),
    ),
}


CLASS_COLUMNS = {
    "optimum J": ("optimal_return", ""),
    "W worst": ("enforceable_return", "enforceable_is_exact"),
    "W uniform": ("enforceable_return_uniform_ties", "enforceable_uniform_is_exact"),
    "naive worst": ("naive_optimum_return_worst_ties", ""),
    "naive uniform": ("naive_optimum_return", ""),
    "alias gap": ("alias_gap", "alias_gap_is_exact"),
}


REVEALED = "W if the overseer also observed one state variable, in the state reached (>=: a lower bound)"
REVEAL_COLUMNS = ("variable", "W", "gain", "observations", "")


def certificate_text(certificate: Certificate) -> str:
    """Renders a certificate for the terminal, one figure per line."""
    lines = [_title(certificate), *_preamble(certificate)]
    for section, rows in _sections(certificate):
        lines += ["", section, *("  {:<34}{:>16}  {:<26}{}".format(*row).rstrip() for row in rows)]
    lines += [
        "",
        "By class of agents (>=: a lower bound, -: not computed, its policies cannot be enumerated)",
        _columns("", list(CLASS_COLUMNS)),
    ]
    lines += [_columns(name, cells) for name, cells in _class_rows(certificate)]
    if certificate.revealed is not None:
        lines += ["", REVEALED, _reveal_line(REVEAL_COLUMNS), *map(_reveal_line, _reveal_rows(certificate))]
    lines += ["", "Aliased for the overseer, largest difference first"]
    lines += [line for pair in certificate.aliased_pairs.worst for line in _pair_lines(pair)] or ["  none"]
    return "\n".join([*lines, "", _rewards(certificate)])


def _title(certificate: Certificate) -> str:
    return " ".join([certificate.world, *(f"{name}={value}" for name, value in certificate.parameters.items())])


def _preamble(certificate: Certificate) -> list[str]:
    """What the figures are about: the agent, the bounds, the size of the world."""
    lines = [f"The agent {certificate.agent}."]
    if certificate.agent_class == STATE:
        lines.append(
            "J* and the alias gap bound those of an agent that sees less from above; its W is not bounded by W."
        )
    if "overseer" in certificate.notes:
        lines.append(f"The overseer is {certificate.notes['overseer']}.")
    size = f"{certificate.states} non-terminal states, {certificate.horizon} steps, discount {certificate.gamma:g}"
    return [*lines, f"{size}; returns are discounted and per episode."]


def _rewards(certificate: Certificate) -> str:
    rewards = (f"{label} {reward:.4g}" for label, reward in certificate.enforceable_reward.items())
    return f"Reward that enforces W: {', '.join(rewards)}"


def _sections(certificate: Certificate) -> Iterator[tuple[str, list[tuple[str, str, str, str]]]]:
    """Each section with its rows: name, value, class of agents, and which bound it is or why it is missing."""
    values, agents, bounds, notes = certificate.to_dict(), certificate.agents, certificate.bounds, certificate.notes
    for section, rows in SECTIONS.items():
        yield (
            section,
            [
                (name, _text(_at(values, key)), agents.get(key, ""), notes.get(key, bounds.get(key, "")))
                for name, key in rows
            ],
        )


def _columns(name: str, cells: list[str]) -> str:
    """A line of the table of classes; a single cell is a remark."""
    return f"  {name:<24}" + ("".join(f"{cell:>15}" for cell in cells) if len(cells) > 1 else f"  {cells[0]}")


def _class_rows(certificate: Certificate) -> list[tuple[str, list[str]]]:
    """Each class of agents with its figures, or with the reason why they were not computed."""
    memoryless = certificate.memoryless_return
    bound = "" if memoryless.stochastic_is_exact else ">="
    return [
        *(
            (name, [certificate.notes[f"by_class.{name}"]] if figures is None else _class_cells(figures))
            for name, figures in certificate.by_class.items()
        ),
        (STOCHASTIC, [f"{bound}{_text(memoryless.stochastic)}", *["-"] * (len(CLASS_COLUMNS) - 1)]),
    ]


def _class_cells(figures: AgentFigures) -> list[str]:
    cells = []
    for value, is_exact in CLASS_COLUMNS.values():
        bound = ">=" if is_exact and not getattr(figures, is_exact) else ""
        cells.append(f"{bound}{_text(getattr(figures, value))}")
    return cells


def _reveal_rows(certificate: Certificate) -> Iterator[tuple[str, ...]]:
    """Each state variable with W if it is revealed, the gain, the number of observations and how W was found."""
    for row in certificate.revealed or []:
        bound = "" if row.enforceable_is_exact or row.enforceable_return is None else ">="
        gain = None if row.enforceable_return is None else row.enforceable_return - certificate.enforceable_return
        cells = [f"{bound}{_text(value)}" if value is not None else "-" for value in (row.enforceable_return, gain)]
        yield (row.variable, *cells, str(row.observations), row.method)


def _reveal_line(row: tuple[str, ...]) -> str:
    return "  {:<24}{:>15}{:>15}{:>15}  {}".format(*row).rstrip()


def _at(values: dict[str, Any], key: str) -> Any:
    """The entry under a key like `memoryless_return.stochastic`."""
    first, _, rest = key.partition(".")
    return _at(values[first], rest) if rest else values[first]


def _text(value: Any) -> str:
    """Formats a value; None is a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return f"[{', '.join(_text(item) for item in value)}]"
    return f"{round(value, 4) + 0.0:.4f}" if isinstance(value, float) else f"{value:,}".replace(",", " ")


def _pair_lines(pair: AliasedPair) -> list[str]:
    steps = [
        f"    {step.true_reward:+g}  {step.action} from {step.state} to {step.next_state}, "
        f"{step.visits:.3g} times per episode under the random policy"
        for step in (pair.better, pair.worse)
    ]
    return [f"  {pair.label!r}: true rewards differ by {pair.difference:g}", *steps]


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #26282c }}
table {{ border-collapse: collapse; table-layout: fixed; width: 100% }}
td {{ padding: .15rem .6rem; border-bottom: 1px solid #e4e0d6; width: 17rem }}
td.number {{ text-align: right; font-variant-numeric: tabular-nums; width: 9rem }}
td.agent {{ width: 11rem }} td.note {{ color: #777; width: auto }} table.classes {{ table-layout: auto }}
table.classes td {{ width: auto }} table.classes th {{ text-align: right; font-weight: normal; color: #777 }}
h2 {{ font-size: 1.1rem; margin: 2rem 0 .4rem }} code {{ background: #f4f1ea; padding: .1rem .3rem }}
.pair {{ display: flex; flex-wrap: wrap; gap: 2.5rem; margin: .6rem 0 }} figure {{ margin: 0 }}
.step {{ display: flex; align-items: center; gap: .8rem }} img {{ max-height: 10rem; image-rendering: pixelated }}
figcaption {{ text-align: center; color: #555; font-size: 13px }}
</style></head><body><h1>{world}</h1><p><code>{title}</code></p><p>{preamble}</p>{sections}
<h2>By class of agents (≥: a lower bound, -: not computed, its policies cannot be enumerated)</h2>{classes}{revealed}
<p>{rewards}</p><h2>Aliased for the overseer, largest difference first</h2>{pairs}</body></html>
"""


def certificate_page(certificate: Certificate) -> str:
    """Renders a certificate as an HTML page that loads nothing from the network."""
    sections = "".join(
        f"<h2>{markup.escape(section)}</h2><table>{''.join(map(_row, rows))}</table>"
        for section, rows in _sections(certificate)
    )
    pairs = "".join(map(_drawn_pair, certificate.aliased_pairs.worst)) or "<p>None.</p>"
    texts = {"world": certificate.world, "title": _title(certificate), "preamble": " ".join(_preamble(certificate))}
    texts["rewards"] = _rewards(certificate)
    escaped = {name: markup.escape(text) for name, text in texts.items()}
    tables = {"classes": _class_table(certificate), "revealed": _reveal_table(certificate)}
    return PAGE.format(**escaped, **tables, sections=sections, pairs=pairs)


def _row(row: tuple[str, str, str, str]) -> str:
    name, value, agent, note = map(markup.escape, row)
    number, remark = f'<td class="number">{value}</td>', f'<td class="agent">{agent}</td><td class="note">{note}</td>'
    return f"<tr><td>{name}</td>{number}{remark}</tr>"


def _class_table(certificate: Certificate) -> str:
    heads = "".join(f"<th>{name}</th>" for name in CLASS_COLUMNS)
    return (
        f'<table class="classes"><tr><th></th>{heads}</tr>{"".join(map(_class_row, _class_rows(certificate)))}</table>'
    )


def _class_row(row: tuple[str, list[str]]) -> str:
    name, cells = row
    if len(cells) == 1:
        return f'<tr><td>{name}</td><td class="note" colspan="{len(CLASS_COLUMNS)}">{markup.escape(cells[0])}</td></tr>'
    numbers = "".join(f'<td class="number">{cell.replace(">=", "≥")}</td>' for cell in cells)
    return f"<tr><td>{name}</td>{numbers}</tr>"


def _reveal_table(certificate: Certificate) -> str:
    """The table of state variables with its heading; empty if it was not computed."""
    if certificate.revealed is None:
        return ""
    heads = "".join(f"<th>{name}</th>" for name in REVEAL_COLUMNS)
    rows = "".join(map(_reveal_row, _reveal_rows(certificate)))
    heading = markup.escape(REVEALED.replace(">=", "≥"))
    return f'<h2>{heading}</h2><table class="classes"><tr>{heads}</tr>{rows}</table>'


def _reveal_row(row: tuple[str, ...]) -> str:
    name, *numbers, method = (markup.escape(cell.replace(">=", "≥")) for cell in row)
    cells = "".join(f'<td class="number">{number}</td>' for number in numbers)
    return f'<tr><td>{name}</td>{cells}<td class="note">{method}</td></tr>'


def _drawn_pair(pair: AliasedPair) -> str:
    steps = "".join(map(_drawn_step, (pair.better, pair.worse)))
    label = markup.escape(pair.label)
    return f'<p>“{label}”: true rewards differ by {pair.difference:g}.</p><div class="pair">{steps}</div>'


def _drawn_step(step: AliasedStep) -> str:
    pictures = f"{_figure(step.before)}<span>{markup.escape(step.action)} →</span>{_figure(step.after)}"
    caption = f"true reward {step.true_reward:+g}, {step.visits:.3g} times per episode under the random policy"
    return f'<figure><div class="step">{pictures}</div><figcaption>{caption}</figcaption></figure>'


def _figure(picture: drawing.Picture) -> str:
    """A picture as an inline PNG; a picture without cells is its caption."""
    caption = markup.escape(picture.caption)
    if picture.is_text:
        return f"<code>{caption}</code>"
    image = base64.b64encode(png(drawing.rgb_array(picture))).decode()
    tag = f'<img alt="{markup.escape(drawing.ansi(picture))}" src="data:image/png;base64,{image}">'
    return f"<figure>{tag}{f'<figcaption>{caption}</figcaption>' if caption else ''}</figure>"


def png(pixels: np.ndarray) -> bytes:
    """Encodes (H, W, 3) uint8 pixels as a PNG file."""
    height, width, _ = pixels.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], 1)  # filter type 0
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body
