"""The precision `auto` is resolved by the processor and recorded as what it was."""

import pytest

from flows import processor
from flows.cli.settings import configuration
from flows.config import CompareConfig, Training


@pytest.fixture
def cpu(tmp_path, monkeypatch):
    """Lets the processor have these flags."""

    def set_info(text: str) -> None:
        (tmp_path / "cpuinfo").write_text(text)
        monkeypatch.setattr(processor, "CPU_INFO", tmp_path / "cpuinfo")
        processor.computes_bf16.cache_clear()

    yield set_info
    processor.computes_bf16.cache_clear()


@pytest.mark.parametrize(
    ("info", "precision"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16 fma\n", "bf16"),
        ("processor : 0\nflags : amx_bf16\n", "bf16"),
        ("Features\t: fp asimd bf16\n", "bf16"),
        ("flags\t\t: fpu avx2 avx512f\n", "fp32"),
        ("model name : bf16 special\nflags : fpu\n", "fp32"),
        ("", "fp32"),
    ],
)
def test_auto_is_bf16_where_the_processor_computes_in_it(cpu, info, precision):
    cpu(info)
    assert Training(precision="auto").precision == precision
    assert configuration(CompareConfig, {"preset": "quick"}).training.precision == precision


def test_a_processor_that_cannot_be_asked_computes_in_fp32(cpu, tmp_path):
    cpu("flags : bf16")
    (tmp_path / "cpuinfo").unlink()
    assert Training(precision="auto").precision == "fp32"


def test_a_graphics_processor_computes_in_bf16(cpu):
    cpu("flags : fpu")
    assert Training(precision="auto", device="cuda:1").precision == "bf16"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_chosen_precision_is_kept(cpu, precision):
    for info in ("flags : bf16", "flags : fpu"):
        cpu(info)
        assert Training(precision=precision).precision == precision


def test_an_option_replaces_the_presets_precision(cpu):
    cpu("flags : fpu")
    config = configuration(CompareConfig, {"preset": "quick", "training__precision": "bf16"})
    assert config.training.precision == "bf16"
