"""The C source: equal to the integer model bit for bit, whatever is in the windows and in the names."""

import subprocess

import numpy as np
import pytest

from mmkd.core.errors import MmkdError
from mmkd.deploy.c import cortex
from mmkd.deploy.c.host import COMPILER, FLAGS, compile_host, has_compiler, run_host, run_tool
from mmkd.deploy.c.source import FILES, write_source
from mmkd.deploy.c.text import comment, float_text, string, table

compiled = pytest.mark.skipif(not has_compiler(), reason="there is no C compiler (cc) here")
EVIL = [
    'a"; } /* *',
    "??/ and ??=",
    "back\\slash\\",
    "line\nbreak */ int x;",
    "größe 走る \U0001f600",
    "%s%n",
    "",
    "// \\",
]


def written(folder, model, names=("one", "two", "three"), facts=("a student",)):
    source = write_source(model, names, facts, [f"channel {n}" for n in range(model.channels)])
    folder.mkdir(exist_ok=True)
    for name, text in source.files.items():
        (folder / name).write_text(text, encoding="ascii")
    return source


def inputs(made, model, number=1000):
    """Usual windows, and extreme ones: far too large, constant, and of float32 also what is no number."""
    usual = made.windows(number, seed=5)
    usual[::7] *= 1e4
    usual[1::7] = usual[1::7, :, :1]
    windows = model.as_input(usual)
    if model.floats:
        generator = np.random.default_rng(0)
        odd = np.array([np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, 1e-45, 0.0, -0.0], np.float32)
        places = generator.random(windows[2::7].shape) < 0.2
        windows[2::7] = np.where(places, generator.choice(odd, places.shape), windows[2::7])
    else:
        windows[2::7] = np.random.default_rng(0).integers(-(2**15), 2**15, windows[2::7].shape)
        windows[0] = -(2**15)
    return windows


@compiled
@pytest.mark.parametrize("standardise", ["float", "int"])
@pytest.mark.parametrize("net", ["tiny", "micro", "small"])
def test_c_equals_the_integer_model_bit_for_bit(made, models, tmp_path, net, standardise):
    model = models[f"{net}-{standardise}"]
    source = written(tmp_path, model)
    compile_host(tmp_path, tmp_path / "student")
    windows = inputs(made, model)
    assert len(windows) == 1000
    classes, logits = run_host(tmp_path / "student", windows, 3)
    expected = model.logits(windows)
    np.testing.assert_array_equal(logits, expected)
    np.testing.assert_array_equal(classes, expected.argmax(1))
    assert len(set(classes.tolist())) > 1
    assert f"#define STUDENT_ARENA_BYTES {source.arena}\n" in source.files["student.h"]


@compiled
@pytest.mark.parametrize("name", ["tiny-float", "micro-int", "small-int"])
def test_c_has_no_undefined_behaviour(made, models, tmp_path, name):
    model = models[name]
    written(tmp_path, model)
    checks = ("-fsanitize=undefined,address", "-fno-sanitize-recover=all")
    try:
        compile_host(tmp_path, tmp_path / "student", checks)
    except MmkdError as error:
        pytest.skip(f"the compiler has no sanitizers: {error}")
    windows = inputs(made, model, 200)
    np.testing.assert_array_equal(run_host(tmp_path / "student", windows, 3)[1], model.logits(windows))


@compiled
def test_the_sanitizers_would_find_something(tmp_path):
    """The test above can fail."""
    (tmp_path / "student.c").write_text("int student(int n);\nint student(int n) { return 2147483647 + n; }\n")
    (tmp_path / "main.c").write_text("int student(int n);\nint main(int n, char **v) { (void)v; return student(n); }\n")
    try:
        compile_host(tmp_path, tmp_path / "bad", ("-fsanitize=undefined,address", "-fno-sanitize-recover=all"))
    except MmkdError as error:
        pytest.skip(f"the compiler has no sanitizers: {error}")
    with pytest.raises(MmkdError, match="signed integer overflow"):
        run_tool([tmp_path / "bad"])


@compiled
def test_any_name_is_safe_in_c(made, models, tmp_path):
    model = models["micro-float"]
    evil = [(EVIL * 2)[n : n + 3] for n in range(len(EVIL))]
    for number, names in enumerate(evil):
        folder = tmp_path / str(number)
        source = written(folder, model, names, [f"dataset: {name}" for name in names])
        compile_host(folder, folder / "student")
        windows = inputs(made, model, 40)
        done = run_tool([folder / "student"], input=windows.tobytes())
        best = model.logits(windows).argmax(1)
        expected = b"".join(
            b" ".join([str(k).encode(), *(str(v).encode() for v in row), names[k].encode()]) + b"\n"
            for k, row in zip(best.tolist(), model.logits(windows).tolist(), strict=True)
        )
        assert done.stdout == expected
        assert all(text.isascii() for text in source.files.values())


@compiled
def test_the_makefile_builds_without_a_word_and_the_program_counts_samples(made, models, tmp_path):
    model = models["micro-float"]
    source = written(tmp_path, model)
    assert set(source.files) == set(FILES)
    made_it = subprocess.run(["make", "-s", "-C", tmp_path], capture_output=True, text=True, check=True)
    assert made_it.stdout + made_it.stderr == ""
    windows = inputs(made, model, 2)
    with pytest.raises(MmkdError, match="code 2: the last window has 199 samples instead of 200"):
        run_tool([tmp_path / "student"], input=windows.tobytes()[:-4])
    listed = [COMPILER, *FLAGS, "-Wconversion", "-Wshadow", "-Wundef", "-c", tmp_path / "student.c"]
    run_tool([*listed, "-o", tmp_path / "student.o"])
    symbols = run_tool(["nm", "-u", tmp_path / "student.o"]).stdout.decode().split()
    assert set(symbols) - {"U"} <= {"memcpy", "memset"}


def test_the_network_itself_has_no_floating_point_and_the_same_model_gives_the_same_text(models, tmp_path):
    for name, model in models.items():
        text = written(tmp_path, model).files
        assert text == written(tmp_path, model).files
        body = text["student.c"].partition("} convolution;")[2]
        floats = [
            line for line in body.splitlines() if "float" in line and "_centre" not in line and "_factor" not in line
        ]
        assert floats == []
        if name.endswith("int"):
            assert "float" not in text["student.c"] + text["student.h"]


def test_bytes_of_weights_are_those_of_the_tables(models, tmp_path):
    source = written(tmp_path, models["micro-float"])
    sizes = {"int8_t": 1, "uint16_t": 2, "int32_t": 4, "float": 4}
    total = 0
    lines = source.files["student.c"].splitlines()
    for number, line in enumerate(lines):
        if line.startswith("static const") and line.endswith("[] = {"):
            end = lines.index("};", number)
            total += sizes[line.split()[2]] * " ".join(lines[number + 1 : end]).count(",")
    assert source.weights == total > 2000


def test_texts_and_numbers_in_c():
    assert string('a"b\\c?') == '"a\\"b\\\\c\\?"'
    assert string("ö1") == '"\\303\\2661"'
    assert comment("x */ y /* z \\ ??/ ö\n") == "x _/ y /_ z _ __/ __"
    assert table("int8_t", "t", [1, -2]) == "static const int8_t t[] = {\n    1, -2,\n};\n"
    generator = np.random.default_rng(0)
    values = generator.integers(0, 2**32, 2000, dtype=np.uint32).view(np.float32)
    for value in values[np.isfinite(values)]:
        text = float_text(value)
        assert text.endswith("f")
        assert np.float32(text[:-1]) == value


@pytest.mark.slow
@pytest.mark.skipif(bool(cortex.missing_tools()), reason=f"not installed: {', '.join(cortex.missing_tools())}")
@pytest.mark.parametrize("standardise", ["float", "int"])
@pytest.mark.parametrize("net", ["tiny", "micro", "small"])
def test_on_a_cortex_m4(made, models, tmp_path, net, standardise):
    model = models[f"{net}-{standardise}"]
    source = written(tmp_path, model)
    windows = inputs(made, model, 100)
    device = cortex.measure(tmp_path, model, windows)
    assert device["device_windows"] == 100
    assert device["device_arena_bytes"] == source.arena
    assert source.weights < device["object_flash_bytes"] <= device["flash_bytes"] < source.weights + 8000
    products = sum(
        layer.weight.size * model.shapes[layer.output][1] for layer in model.layers if hasattr(layer, "groups")
    )
    assert 3 * products < device["instructions"] <= device["instructions_max"] < 40 * products + 300_000
    again = cortex.measure(tmp_path, model, windows)
    assert again == device


@pytest.mark.slow
@pytest.mark.skipif(bool(cortex.missing_tools()), reason=f"not installed: {', '.join(cortex.missing_tools())}")
def test_a_device_that_computes_something_else_is_noticed(made, models, tmp_path):
    model = models["micro-int"]
    written(tmp_path, model)
    text = (tmp_path / "student.c").read_text()
    assert text.count("(value > 127 ? 127 : value)") == 1
    (tmp_path / "student.c").write_text(text.replace("(value > 127 ? 127 : value)", "(value > 126 ? 126 : value)"))
    with pytest.raises(MmkdError, match="in QEMU the source does not compute"):
        cortex.measure(tmp_path, model, inputs(made, model, 50))
