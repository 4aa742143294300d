"""The text and the page of a certificate show its figures, bounds and aliased pairs."""

import base64
import re
import struct
import zlib

import gymnasium
import numpy as np

import envs
from envs.certificate.report import certificate_page, certificate_text, png


def certified(name, **keywords):
    return envs.certify(gymnasium.make_vec(f"keyhole/{name}-v0", num_envs=1, **keywords))


def pixels_of(file):
    """Decodes a PNG file whose rows have filter type 0."""
    width, height = struct.unpack(">II", file[16:24])
    start = file.index(b"IDAT") + 4
    length = struct.unpack(">I", file[start - 8 : start - 4])[0]
    rows = np.frombuffer(zlib.decompress(file[start : start + length]), np.uint8).reshape(height, 1 + 3 * width)
    return rows[:, 1:].reshape(height, width, 3)


def test_the_report_shows_returns_and_marks_bounds_and_figures_that_were_not_computed():
    text = certificate_text(certified("DiamondGhost", size=3, oversight_prob=0.1))
    assert re.search(r"true optimum J\* +0\.9690", text)
    assert re.search(r"enforceable W, worst ties +0\.0969 +history +exact: all \d+ vertices", text)
    assert re.search(r"enforceable W, uniform ties +0\.1841 +history +lower bound", text)
    assert "Regret of naive oversight, worst ties" in text
    assert re.search(r"memoryless deterministic +not computed: 4\^\d+ policies", text)
    assert re.search(r"ambiguity of the reward +- +not computed: too many states", text)
    assert "'something': true rewards differ by 2" in text
    assert "nan" not in text


def test_every_small_world_has_a_text_and_a_page(small_certificate):
    assert certificate_text(small_certificate).startswith(small_certificate.world)
    assert certificate_page(small_certificate).endswith("</html>\n")


def test_the_page_loads_nothing_and_draws_both_steps_of_every_pair():
    found = certified("AbsentSupervisor")
    page = certificate_page(found)
    assert "http" not in page
    assert page.count("data:image/png;base64,") == 4 * len(found.aliased_pairs.worst)
    first = re.search(r"base64,([^\"]+)", page).group(1)
    pixels = pixels_of(base64.b64decode(first))
    assert pixels.shape == (4 * 32, 4 * 32, 3)


def test_the_page_escapes_names_that_look_like_markup():
    page = certificate_page(certified("HideErrors"))
    assert "2&gt;/dev/null" in page
    assert "2>/dev/null" not in page


def test_a_world_without_aliased_pairs_has_none_on_its_page():
    assert "<p>None.</p>" in certificate_page(certified("AliasedCorridor"))


def test_a_png_decodes_to_the_same_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    assert np.array_equal(pixels_of(png(pixels)), pixels)
