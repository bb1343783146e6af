"""The command line: what each command does, its exit codes, its JSON, its errors of one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models import LABELS, residual_net
from PIL import Image

import sparing
from sparing.cli import COMMANDS, _parser, main

CAPTURE = pytest.CaptureFixture[str]
OUTPUTS = len(LABELS)


@pytest.fixture
def net(tmp_path: Path) -> str:
    path = tmp_path / "net.onnx"
    path.write_bytes(residual_net().SerializeToString())
    return str(path)


@pytest.fixture
def photos(tmp_path: Path) -> str:
    """Ten pictures in folders of two classes, of sizes that need scaling and cutting."""
    rng = np.random.default_rng(0)
    for i in range(10):
        folder = tmp_path / "photos" / LABELS[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (8 + i, 12, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return str(tmp_path / "photos")


@pytest.fixture
def small(net: str, photos: str, tmp_path: Path, capsys: CAPTURE) -> str:
    """The network, quantized by the command line."""
    path = str(tmp_path / "small.sparing")
    assert main(["compress", net, "-o", path, "--calibration", photos]) == 0
    capsys.readouterr()
    return path


def output_of(arguments: list[str], capsys: CAPTURE) -> Any:
    """The JSON that a command prints; nothing else may stand on stdout."""
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_explains_each_command_with_an_example(command: str, capsys: CAPTURE) -> None:
    assert main([command, "--help"]) == 0
    assert f"    sparing {command}" in capsys.readouterr().out


def test_the_overview_names_every_command(capsys: CAPTURE) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    first_words = [line.split()[0] for line in out.splitlines() if line.startswith("    ")]
    assert all(command in first_words for command in COMMANDS)


def test_the_readme_shows_every_command_as_it_is_parsed() -> None:
    readme = Path(__file__).resolve().parents[1] / "README.md"
    text = readme.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.split("  #")[0].split() for line in text.splitlines()]
    shown = [words[1:] for words in lines if words and words[0].endswith("sparing")]
    shown = [words for words in shown if words and words[0] in COMMANDS]
    assert {words[0] for words in shown} == set(COMMANDS)
    for words in shown:
        assert _parser().parse_args(words).run is not None


def test_info_counts_what_the_network_has(net: str, small: str, capsys: CAPTURE) -> None:
    found = output_of(["info", net], capsys)
    # by hand: 3x3 convs 3->8 at 8x8, 8->12 and 12->12 at 4x4; 1x1 conv 8->12 at 4x4; Gemm 12->4
    weights = [27 * 8, 72 * 12, 108 * 12, 8 * 12, 48]
    assert found["macs"] == 64 * weights[0] + 16 * sum(weights[1:4]) + weights[4]
    assert found["parameters"] == sum(weights) + 8 + 3 * 12 + 4
    assert (found["quantized_layers"], found["layers_with_weights"]) == (0, 5)
    assert found["file_bytes"] == Path(net).stat().st_size
    assert found["inputs"] == ["input: float32[N, 3, 8, 8]"]

    after = output_of(["info", small], capsys)
    assert after["quantized_layers"] == 5
    assert after["macs"] == found["macs"]
    assert after["stored_weight_bytes"] < found["stored_weight_bytes"]
    assert main(["info", small]) == 0
    assert "shortcut" in capsys.readouterr().out


def test_compress_reports_before_and_after(
    net: str, photos: str, tmp_path: Path, capsys: CAPTURE
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('[prune]\nsparsity = 0.5\nscope = "layer"\n[quantize]\nweight_bits = 7\n')
    target = str(tmp_path / "out.onnx")
    arguments = ["compress", net, "-o", target, "--calibration", photos, "--recipe", str(recipe)]
    found = output_of([*arguments, "--limit", "4"], capsys)
    before, after = found["before"], found["after"]
    assert before["sparsity"] == 0 and after["sparsity"] >= 0.5
    assert after["quantized_layers"] == after["layers_with_weights"] == 5
    assert after["file_bytes"] == Path(target).stat().st_size
    for side, path in ((before, net), (after, target)):
        assert side["packed_weight_bytes"] == sparing.Session(path).explain().weight_bytes > 0
    written = sparing.load(target)
    assert written.metadata["recipe"]["quantize"]["weight_bits"] == 7
    assert max(np.abs(t.numpy()).max() for t in written.weights.values() if t.dtype == "i1") <= 63


def test_pruning_alone_needs_no_data(net: str, tmp_path: Path, capsys: CAPTURE) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("[prune]\nsparsity = 0.75\n")
    target = str(tmp_path / "out.sparing")
    assert main(["compress", net, "-o", target, "--recipe", str(recipe)]) == 0
    assert "75.0%" in capsys.readouterr().out


def test_run_prints_the_top_classes(small: str, photos: str, capsys: CAPTURE) -> None:
    found = output_of(["run", small, photos, "--top", "2", "--backend", "numpy"], capsys)
    assert len(found) == 10
    model = sparing.load(small)
    data = sparing.images(photos, model=model)
    session = sparing.Session(model, backend="numpy")
    scores = np.concatenate([session.run(None, feeds)[0] for feeds in data])
    for entry, row, path in zip(found, scores, data.items, strict=True):
        assert entry["input"] == str(path)
        first, second = entry["top"]
        assert first["class"] == row.argmax() and first["label"] == LABELS[row.argmax()]
        exponentials = np.exp(row.astype(np.float64))
        # float64 against float64, in another order of operations
        assert abs(first["probability"] - exponentials.max() / exponentials.sum()) < 1e-12
        assert first["score"] >= second["score"]


def test_run_takes_arrays_and_writes_outputs(small: str, tmp_path: Path, capsys: CAPTURE) -> None:
    x = np.random.default_rng(1).standard_normal((11, 3, 8, 8), np.float32)
    source, target = str(tmp_path / "x.npy"), str(tmp_path / "y.npy")
    np.save(source, x)
    found = output_of(["run", small, source, "-o", target], capsys)
    (want,) = sparing.Session(small).run(None, {"input": x})
    assert np.array_equal(np.load(target), want)
    assert [entry["input"] for entry in found] == [f"{source}[{i}]" for i in range(11)]


def test_run_takes_labels_and_preprocessing_from_the_command_line(
    net: str, photos: str, tmp_path: Path, capsys: CAPTURE
) -> None:
    names = tmp_path / "names.txt"
    names.write_text("a\nb\nc\nd\n")
    image = f"{photos}/{LABELS[0]}/0.png"
    plain = output_of(["run", net, image, "--labels", str(names)], capsys)
    assert plain[0]["top"][0]["label"] in "abcd"
    shifted = output_of(["run", net, image, "--mean", "0,20,40", "--std", "64"], capsys)
    assert shifted[0]["top"][0]["score"] != plain[0]["top"][0]["score"]


def test_evaluate_compares_with_labels_and_another_model(
    net: str, small: str, photos: str, capsys: CAPTURE
) -> None:
    found = output_of(["evaluate", small, "--data", photos, "--against", net, "--layers"], capsys)
    assert found["images"] == 10
    predicted = [e["top"][0]["class"] for e in output_of(["run", small, photos], capsys)]
    labels = sparing.images(photos, model=sparing.load(small)).labels
    assert found["top1"] == np.mean(predicted == labels)
    assert 20 < found["sqnr_db"] < 80  # 8 bits over five layers: neither broken nor lossless
    assert 0 < found["kl_divergence"] < 0.01
    assert len(found["layers_sqnr_db"]) == 5
    assert min(found["layers_sqnr_db"].values()) > 20

    same = output_of(["evaluate", net, "--data", photos, "--against", net], capsys)
    assert same["agreement"] == 1 and same["kl_divergence"] == 0
    assert same["sqnr_db"] is None  # infinite, which JSON cannot hold


def test_sensitivity_lists_layers_worst_first(net: str, photos: str, capsys: CAPTURE) -> None:
    arguments = ["sensitivity", net, "--calibration", photos, "--weight-bits", "4"]
    found = output_of(arguments, capsys)["layers"]
    images = sparing.images(photos, model=sparing.load(net))
    want = {s.label: s for s in sparing.sensitivity(sparing.load(net), images, weight_bits=4)}
    assert {one["label"]: one["divergence"] for one in found} == {
        label: one.divergence for label, one in want.items()
    }
    worst = [one["divergence"] for one in found]
    assert worst == sorted(worst, reverse=True)
    assert main([*arguments, "--all-but"]) == 0
    assert "signal to error" in capsys.readouterr().out


def test_a_calibration_cache_serves_without_images(
    net: str, photos: str, tmp_path: Path, capsys: CAPTURE
) -> None:
    cache, recipe = str(tmp_path / "ranges.json"), tmp_path / "recipe.toml"
    recipe.write_text('[quantize]\nrounding = "nearest"\nbias_correction = false\n')
    paths = [str(tmp_path / name) for name in ("one.sparing", "two.sparing")]
    common = ["--recipe", str(recipe), "--calibration-cache", cache]
    assert main(["compress", net, "-o", paths[0], *common, "--calibration", photos]) == 0
    assert main(["compress", net, "-o", paths[1], *common]) == 0
    one, two = (Path(path).read_bytes() for path in paths)
    assert one == two


def test_explain_lists_the_plan(small: str, capsys: CAPTURE) -> None:
    found = output_of(["explain", small, "--batch", "3", "--profile", "--threads", "1"], capsys)
    want = sparing.Session(small, threads=1).explain({"input": (3, 3, 8, 8)})
    assert [s["label"] for s in found["steps"]] == [s.label for s in want.steps]
    assert [s["output_shape"][0] for s in found["steps"]] == [3] * len(want.steps)
    assert all(s["measured_milliseconds"] > 0 for s in found["steps"])
    assert main(["explain", small]) == 0
    assert "stem" in capsys.readouterr().out


@pytest.fixture
def of_any_size(tmp_path: Path) -> str:
    """The network for images of any size, as Paddle2ONNX writes that."""
    proto = residual_net()
    for dim in proto.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.dim_param = "?"
    path = tmp_path / "any.onnx"
    path.write_bytes(proto.SerializeToString())
    return str(path)


def test_a_shape_tells_the_size_that_a_model_leaves_open(
    of_any_size: str, photos: str, tmp_path: Path, capsys: CAPTURE
) -> None:
    for command in (["info"], ["explain"], ["bench", "--backends", "numpy"]):
        assert main([*command, of_any_size]) == 2
        assert "give a shape, as in --shape input=1x3x224x224" in capsys.readouterr().err
    shape = ["--shape", "input=2x3x12x10"]
    found = output_of(["explain", of_any_size, *shape], capsys)
    want = sparing.Session(of_any_size).explain({"input": (2, 3, 12, 10)})
    assert [s["output_shape"] for s in found["steps"]] == [list(s.output_shape) for s in want.steps]
    small, large = (
        output_of(["info", of_any_size, "--shape", text], capsys)["macs"]
        for text in ("1x3x8x8", "1x3x16x16")
    )
    assert 3.5 * small < large < 4 * small
    bench = ["bench", of_any_size, "--backends", "numpy", "--seconds", "0.01"]
    assert output_of([*bench, *shape], capsys)["models"][0]["data"] == "noise"
    quantized = str(tmp_path / "any.sparing")
    command = ["compress", of_any_size, "-o", quantized, "--calibration", photos, "--size", "16"]
    assert output_of(command, capsys)["before"]["macs"] == large


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ("x=1x3x8x8", "shape 'x': expected NAME=SHAPE with one of the inputs input"),
        ("1x3x8", "does not take an array of shape [1, 3, 8]"),
        ("1x4x8x8", "does not take an array of shape [1, 4, 8, 8]"),
    ],
)
def test_shapes_that_do_not_fit(
    shape: str, message: str, of_any_size: str, capsys: CAPTURE
) -> None:
    for command in ("info", "explain", "bench"):
        assert main([command, of_any_size, "--shape", shape]) == 2
        assert message in capsys.readouterr().err


def test_export_writes_what_runs_alike(small: str, tmp_path: Path, capsys: CAPTURE) -> None:
    target = str(tmp_path / "out.onnx")
    assert main(["export", small, "-o", target]) == 0
    assert target in capsys.readouterr().out
    feeds = {"input": np.random.default_rng(2).standard_normal((2, 3, 8, 8), np.float32)}
    (got,), (want,) = (
        sparing.Session(p, backend="numpy").run(None, feeds) for p in (target, small)
    )
    assert np.array_equal(got, want)


BAD: dict[str, tuple[list[str], str]] = {
    "no such model": (["info", "{tmp}/no.onnx"], "no.onnx"),
    "a model that is none": (["info", "{text}"], "text.onnx"),
    "no such input": (["run", "{net}", "{tmp}/no.png"], "no.png"),
    "an image that is none": (["run", "{net}", "{image}"], "cannot read"),
    "a suffix nobody knows": (["run", "{net}", "{recipe}"], "expected a folder, an image"),
    "an output's suffix": (
        ["compress", "{net}", "-o", "{tmp}/out.txt", "--calibration", "{tmp}"],
        "out.txt",
    ),
    "an output's folder": (
        ["compress", "{net}", "-o", "{tmp}/no/out.onnx", "--calibration", "{tmp}"],
        "no folder",
    ),
    "calibration missing": (["compress", "{net}", "-o", "{tmp}/out.onnx"], "calibration"),
    "no such recipe": (
        ["compress", "{net}", "-o", "{tmp}/out.onnx", "--recipe", "{tmp}/no.toml"],
        "no.toml",
    ),
    "a recipe's table": (
        ["compress", "{net}", "-o", "{tmp}/out.onnx", "--recipe", "{recipe}"],
        "shrink",
    ),
    "an export that is no ONNX": (["export", "{net}", "-o", "{tmp}/out.sparing"], "suffix .onnx"),
    "labels that do not fit": (
        ["run", "{net}", "{array}", "--labels", "{recipe}"],
        "4 class names",
    ),
    "arrays that do not fit": (["run", "{net}", "{wrong}"], "[1, 3, 9, 9]"),
    "outputs as another kind": (["run", "{net}", "{array}", "-o", "{tmp}/y.txt"], "suffix .npy"),
    "nothing to compare with": (["evaluate", "{net}", "--data", "{array}"], "labels"),
    "layers of one model": (["evaluate", "{net}", "--data", "{array}", "--layers"], "--against"),
    "an output nobody can write": (["run", "{net}", "{array}", "-o", "{tmp}/no/y.npy"], "y.npy"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_exit_code_2(
    case: str, net: str, tmp_path: Path, capsys: CAPTURE
) -> None:
    places = {"tmp": str(tmp_path), "net": net}
    for name, content in (
        ("text.onnx", "no model"),
        ("image.png", "x"),
        ("recipe.toml", "[shrink]"),
    ):
        (tmp_path / name).write_text(content)
        places[name.partition(".")[0]] = str(tmp_path / name)
    for name, size in (("array", 8), ("wrong", 9)):
        np.save(tmp_path / f"{name}.npy", np.ones((1, 3, size, size), np.float32))
        places[name] = str(tmp_path / f"{name}.npy")
    arguments, expected = BAD[case]
    assert main([argument.format(**places) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = [x for x in captured.err.splitlines() if not x.endswith(" ...")]  # but progress
    assert line.startswith("sparing: error: ") and expected in line


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["unknown"],
        ["run"],
        ["run", "net.onnx"],
        ["run", "net.onnx", "x.npy", "--top", "0"],
        ["run", "net.onnx", "x.npy", "--backend", "gpu"],
        ["run", "net.onnx", "x.npy", "--threads", "two"],
        ["run", "net.onnx", "x.npy", "--size", "1x2x3"],
        ["run", "net.onnx", "x.npy", "--mean", "a,b"],
        ["compress", "net.onnx"],
        ["explain", "net.onnx", "--batch", "-1"],
        ["explain", "net.onnx", "--shape", "input=1x3xN"],
        ["demo", "--images", "many"],
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(arguments: list[str], capsys: CAPTURE) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert ": error: " in line and "--help" in line


def test_an_interrupted_command_ends_quietly(
    net: str, capsys: CAPTURE, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sparing.formats.load", interrupted)
    assert main(["info", net]) == 130
    assert capsys.readouterr() == ("", "")


def test_tables_without_rich(small: str, capsys: CAPTURE, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparing.console.find_spec", lambda name: None)
    assert main(["info", small]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == [
        "layer",
        "operator",
        "weights",
        "output",
        "MMAC",
        "parameters",
        "zeros",
    ]
    assert set(lines[2]) == {"-", " "}
    assert not any(line.endswith(" ") for line in lines)


def sparing_process(arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = f"{sys.executable} -m sparing.cli {arguments}"
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, **options)


def test_as_a_process(net: str, small: str, tmp_path: Path) -> None:
    done = sparing_process(f"info {small} --json")
    assert done.returncode == 0 and done.stderr == ""
    assert json.loads(done.stdout)["quantized_layers"] == 5
    failed = sparing_process(f"info {tmp_path}/no.onnx")
    assert (failed.returncode, failed.stdout) == (2, "")
    assert failed.stderr.startswith("sparing: error: ") and failed.stderr.count("\n") == 1


def test_a_closed_pipe_is_no_error(small: str) -> None:
    done = sparing_process(f"info {small} --json | true; echo ${{PIPESTATUS[0]}}")
    assert done.stderr == ""
    assert int(done.stdout) in (0, 128 + 13)  # 0 where all was written before the reader left
