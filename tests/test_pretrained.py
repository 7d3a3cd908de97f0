"""Other people's weights: wrapped, old, of another precision, or of another kind altogether."""

import argparse
import collections
import gzip
import io
import json
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from conftest import learner_of
from torch import nn

from common.errors import UserError
from engine.checkpoint import Header, pretrained_path, read_pretrained, save
from engine.learner import restore
from models.pretrained import ENTRIES, fitted
from models.registry import build_model, outline, set_transform_input


@pytest.fixture(scope="module")
def source():
    return build_model("resnet8", 10)


@pytest.fixture(scope="module")
def googlenet():
    return build_model("googlenet", 5, image_size=32).eval()


@pytest.fixture
def model():
    return build_model("resnet8", 10)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "w.pt"


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def started(model, path, content):
    torch.save(content, path)
    return read_pretrained(model, path)


def refusal(model, path):
    with pytest.raises(UserError) as error:
        read_pretrained(model, path)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 700
    return str(error.value)


def prefixed(prefix, state):
    return {prefix + key: value for key, value in state.items()}


def test_the_final_layer_is_new_where_the_classes_differ(path, source):
    model = build_model("resnet8", 7)
    fresh = model.fc.weight.clone()
    assert started(model, path, source.state_dict()).has_new_layer
    assert torch.equal(model.fc.weight, fresh)
    assert torch.equal(model.layer3[0].conv2.weight, source.layer3[0].conv2.weight)


def test_the_final_layer_is_kept_where_they_agree(path, model, source):
    start = started(model, path, source.state_dict())
    assert (start.has_new_layer, start.said) == (False, ())
    assert same(model, source)


@pytest.mark.parametrize(
    "prefix",
    ["module.", "_orig_mod.", "model.", "net.", "module._orig_mod.", "_orig_mod.module.",
     "model.backbone.", "module.model._orig_mod."],
)  # fmt: skip
def test_what_wrappers_put_before_names_is_taken_off(path, model, source, prefix):
    start = started(model, path, prefixed(prefix, source.state_dict()))
    assert same(model, source)
    assert "taken off" in start.said[0]
    assert all(part in start.said[0] for part in prefix.split(".")[:-1])


def test_what_torch_itself_wraps(path, source):
    average = torch.optim.swa_utils.AveragedModel(nn.DataParallel(source))
    for wrapped in (nn.DataParallel(source), average):
        model = build_model("resnet8", 10)
        said = started(model, path, wrapped.state_dict()).said
        assert same(model, source)
        assert "taken off" in said[0]
    assert said[1] == "left out n_averaged"


def test_what_compiled_parts_have_in_their_names(path, model, source):
    compiled = {
        key.replace("layer2.", "layer2._orig_mod."): value
        for key, value in source.state_dict().items()
    }
    assert started(model, path, compiled).said == ("_orig_mod. taken off its names",)
    assert same(model, source)


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_of_a_checkpoint(path, model, source, entry):
    optimizer = torch.optim.AdamW(source.parameters())
    content = {
        "epoch": 3,
        "optimizer": optimizer.state_dict(),
        "scaler": {"scale": 65536.0},
        entry: prefixed("module.", source.state_dict()),
    }
    said = started(model, path, content).said
    assert same(model, source)
    assert repr(entry) in said[0]


def test_a_checkpoint_of_our_own(path, model, source):
    save(path, Header("resnet8", 10, 32, 3), {"model": source.state_dict(), "best_epoch": 1})
    read_pretrained(model, path)
    assert same(model, source)


def test_what_a_lightning_file_holds_besides_is_left_out_and_said(path, model, source):
    others = {"loss.weight": torch.ones(3), "metric.total": torch.full((), torch.nan)}
    content = {"state_dict": prefixed("model.", source.state_dict()) | others}
    said = started(model, path, content).said
    assert same(model, source)
    assert said[-1] == "left out loss.weight, metric.total"


@pytest.mark.parametrize("prefixes", [("student.", "teacher."), ("", "ema."), ("a.", "a.b.")])
def test_of_two_nets_none_is_chosen(path, model, source, prefixes):
    first, second = (prefixed(prefix, source.state_dict()) for prefix in prefixes)
    torch.save(first | second, path)
    assert "holds 2 such nets" in refusal(model, path)


def test_a_prefix_that_only_some_names_have_is_none(path, model, source):
    state = source.state_dict()
    weight = state.pop("layer1.0.conv1.weight")
    torch.save(prefixed("module.", state) | {"layer1.0.conv1.weight": weight}, path)
    assert "layer1.0.conv1.weight is missing" in refusal(model, path)


def test_weights_older_than_the_counters_of_batchnorm(path, model, source):
    state = {k: v for k, v in source.state_dict().items() if not k.endswith("tracked")}
    started(model, path, state)
    assert torch.equal(model.bn1.running_mean, source.bn1.running_mean)
    assert model.bn1.num_batches_tracked == 0


FORMERLY = (
    (".norm1.", ".norm.1."), (".norm2.", ".norm.2."), (".conv1.", ".conv.1."),
    (".conv2.", ".conv.2."), (".mlp.0.", ".mlp.linear_1."), (".mlp.3.", ".mlp.linear_2."),
)  # fmt: skip


@pytest.mark.parametrize("arch", ["densenet121", "vit_b_16"])
def test_names_of_older_files_of_torchvision(arch):
    model, former = outline(arch), {}
    for key, value in model.state_dict().items():
        for now, then in FORMERLY:
            key = key.replace(now, then)
        former[key] = value
    assert former.keys() != model.state_dict().keys()
    start = fitted(model, former)
    assert (start.weights.keys(), start.said) == (model.state_dict().keys(), ())


def test_parts_have_versions_which_a_file_may_lack(path):
    source, model = build_model("mnasnet0_5", 3), build_model("mnasnet0_5", 3)
    started(model, path, dict(source.state_dict()))
    assert same(model, source)


class TestPublishedInceptions:
    def test_answer_as_torchvision_s(self, path, googlenet):
        options = {"transform_input": True, "aux_logits": True, "init_weights": False}
        theirs = torchvision.models.GoogLeNet(num_classes=5, **options)
        images = torch.randn(2, 3, 32, 32)
        said = started(googlenet, path, theirs.state_dict()).said
        assert said[0].startswith("left out the auxiliary aux1.conv.conv.weight")
        assert said[1].startswith("inputs transformed")
        with torch.no_grad():
            torch.testing.assert_close(googlenet(images), theirs.eval()(images))

    def test_one_of_ours_goes_on_as_it_was_trained(self, path, googlenet):
        for transforms in (False, True):
            header = Header("googlenet", 5, 32, 1, transform_input=transforms)
            save(path, header, {"model": googlenet.state_dict()})
            read_pretrained(googlenet, path)
            assert googlenet.transform_input is transforms

    def test_a_run_begun_otherwise_is_resumed_otherwise(self, path, googlenet):
        learner = learner_of(googlenet)
        state = learner.state_dict() | {"best_epoch": 1}
        for transforms in (True, False):
            restore(learner, Header("googlenet", 5, 32, 1, transforms), state, path)
            assert googlenet.transform_input is transforms

    def test_inception_v3_has_one_auxiliary_head(self):
        with torch.device("meta"):
            published = torchvision.models.inception_v3(init_weights=False).state_dict()
        assert "auxiliary AuxLogits.conv0" in fitted(outline("inception_v3"), published).said[0]
        assert set_transform_input(outline("inception_v3"), True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_ours(path, model, source, dtype):
    started(model, path, {key: value.to(dtype) for key, value in source.state_dict().items()})
    assert model.conv1.weight.dtype == torch.float32
    assert model.bn1.num_batches_tracked.dtype == torch.int64
    torch.testing.assert_close(model.conv1.weight, source.conv1.weight.to(dtype).float())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w.to(torch.int8), "of torch.int8, needed floating point"),
        (lambda w: w.to(torch.complex64), "of torch.complex64"),
        (lambda w: w > 0, "of torch.bool"),
        (lambda w: w.to(torch.float8_e4m3fn), "of torch.float8_e4m3fn"),
        (lambda w: w.to_sparse(), "is no tensor of weights"),
        (lambda w: torch.full_like(w, torch.nan), "a NaN or an infinity: take other weights"),
        (lambda w: torch.full_like(w, 1e300, dtype=torch.float64), "a NaN or an infinity"),
        (lambda w: torch.ones(1, 1, 1, 1).expand(w.shape), "is no tensor of weights"),
    ],
)
def test_numbers_that_are_no_weights_are_refused_by_name(path, model, source, change, words):
    state = source.state_dict()
    state["conv1.weight"] = change(state["conv1.weight"])
    torch.save(state, path)
    message = refusal(model, path)
    assert words in message
    assert "conv1.weight" in message


@pytest.mark.filterwarnings("ignore:.*quantize")
def test_quantised_weights_are_refused(path, model, source):
    state = source.state_dict()
    state["fc.weight"] = torch.quantize_per_tensor(state["fc.weight"], 0.1, 0, torch.qint8)
    torch.save(state, path)
    assert "fc.weight is of torch.qint8" in refusal(model, path)


def test_strided_and_shared_weights(path, model, source):
    state = source.state_dict()
    state["fc.weight"] = state["fc.weight"].t().contiguous().t()
    state["bn1.bias"] = state["bn1.weight"]
    started(model, path, state)
    assert torch.equal(model.fc.weight, source.fc.weight)


class TestMisfits:
    def test_the_first_keys_of_each_kind_are_named(self, path, source):
        state = source.state_dict()
        state["layer9.extra"] = state.pop("bn1.weight")
        state |= {key: value[:1] for key, value in state.items() if key.endswith("conv2.weight")}
        torch.save(state, path)
        model = build_model("resnet20", 10)
        needed = [key for key in model.state_dict() if not key.endswith("num_batches_tracked")]
        message = refusal(model, path)
        assert "bn1.weight is missing, layer1.1.conv1.weight is missing" in message
        assert f"and {len(set(needed) - state.keys()) - 3} more; layer9.extra" in message
        assert "layer9.extra is unexpected" in message
        assert "conv2.weight has shape (1, 16, 3, 3), needed (16, 16, 3, 3)" in message

    @pytest.mark.parametrize(
        ("theirs", "ours"),
        [("resnet18", "resnet18_small_stem"), ("resnet18_small_stem", "resnet18"),
         ("resnet8", "resnet18"), ("squeezenet1_1", "resnet8")],
    )  # fmt: skip
    def test_the_architecture_that_it_fits_is_named(self, path, theirs, ours):
        torch.save(prefixed("module.", build_model(theirs, 3).state_dict()), path)
        assert refusal(build_model(ours, 3), path).endswith(f"; it fits --arch {theirs}")


def of_zip(*names):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        for name in names:
            file.writestr(name, b"0")
    return made.getvalue()


def of_safetensors():
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(4)


def of_npz():
    made = io.BytesIO()
    np.savez_compressed(made, a=np.ones(1000))
    return made.getvalue()


def of_tar():
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as file:
        file.addfile(tarfile.TarInfo("a"))
    return made.getvalue()


def of_torchscript():
    made = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Linear(1, 1)), made)
    return made.getvalue()


FOREIGN = {
    "safetensors": (of_safetensors, "w.pt", "safetensors.torch.load_file"),
    "keras": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(99), "w.pt", "Keras"),
    "keras 3": (lambda: of_zip("config.json", "model.weights.h5"), "w.pt", "Keras"),
    "onnx": (lambda: b"\x08\x08\x12\x07pytorch\x1a\x051.0" + bytes(9), "w.pt", "ONNX"),
    "onnx, by its name": (lambda: b"\x3a\x01\x00", "w.onnx", "ONNX"),
    "tensorflow": (lambda: b"\x08\x01\x12\x80\x01" + bytes(99), "w.pt", "TensorFlow"),
    "tensorflow graph": (lambda: b"\n\x10\x05\x00", "w.pb", "TensorFlow"),
    "tensorflow part": (lambda: bytes(99), "w.data-00000-of-00001", "TensorFlow"),
    "npz": (of_npz, "w.pt", "numpy arrays"),
    "npy": (lambda: b"\x93NUMPY\x01\x00", "w.pt", "numpy array"),
    "web page": (lambda: b"\n<!DOCTYPE html><html>404</html>", "w.pt", "web page"),
    "git-lfs": (lambda: b"version https://git-lfs.github.com/spec/v1\n", "w.pt", "git lfs pull"),
    "empty": (lambda: b"", "w.pt", "is empty"),
    "text": (lambda: b"not weights", "w.pt", "is text"),
    "json": (lambda: b'{"message": "Not Found"}', "w.pt", "is text"),
    "gzip": (lambda: gzip.compress(b"abc"), "w.pt", "unpack it"),
    "tar": (of_tar, "w.pth.tar", "unpack it"),
    "zip": (lambda: of_zip("resnet.pt"), "w.pt", "a zip file that torch.save did not write"),
    "empty zip": (lambda: of_zip(), "w.pt", "a zip file that torch.save did not write"),
    "torchscript": (of_torchscript, "w.pt", "torch.jit.load(...).state_dict()"),
    "pickle": (lambda: pickle.dumps({"a": 1}), "w.pt", "a pickle without torch"),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("kind", FOREIGN)
def test_a_file_of_another_kind_is_called_what_it_is(tmp_path, model, kind):
    make, name, words = FOREIGN[kind]
    (tmp_path / name).write_bytes(make())
    message = refusal(model, tmp_path / name)
    assert words in message
    assert "truncated" not in message


@pytest.mark.parametrize("is_legacy", [False, True])
def test_what_is_more_than_tensors_is_named_and_not_read(path, model, source, is_legacy):
    for content, what in (
        (source, "models.small_resnet.SmallResNet"),
        ({"model": source.state_dict(), "args": argparse.Namespace(a=1)}, "argparse.Namespace"),
        ({"model": source.state_dict(), "best": np.float64(0.9)}, "numpy"),
    ):
        torch.save(content, path, _use_new_zipfile_serialization=not is_legacy)
        message = refusal(model, path)
        assert f"holds more than tensors ({what}" in message
        assert "torch.save(model.state_dict(), ...)" in message


def test_the_old_format_is_read(path, model, source):
    torch.save(source.state_dict(), path, _use_new_zipfile_serialization=False)
    read_pretrained(model, path)
    assert same(model, source)


def test_content_that_is_no_state_dict(path, model, source):
    for content in ([1, 2], {}, {"state_dict": {}}, {"epoch": 3}, torch.ones(3), None, 5):
        torch.save(content, path)
        assert "is no state_dict" in refusal(model, path)
    torch.save({"generator": source.state_dict(), "epoch": 3}, path)
    assert "(it holds generator, epoch)" in refusal(model, path)


def test_paths_of_any_name(tmp_path, source, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("a:b.pt", "a b=c.pt", "Gewichte-é-重.pt", "x/../w.pt"):
        (tmp_path / "x").mkdir(exist_ok=True)
        model = build_model("resnet8", 10)
        started(model, tmp_path / name, source.state_dict())
        assert same(model, source), name
    assert pretrained_path("~/w.pt").is_file()
    assert pretrained_path("~w.pt") == Path("~w.pt")


def test_files_that_are_none(tmp_path, model, source):
    assert f"no weights at {tmp_path}/missing.pt" in refusal(model, tmp_path / "missing.pt")
    assert f"{tmp_path} is a folder" in refusal(model, tmp_path)
    torch.save(source.state_dict(), tmp_path / "w.pt")
    whole = (tmp_path / "w.pt").read_bytes()
    (tmp_path / "w.pt").write_bytes(whole[: len(whole) // 2])
    assert "truncated or damaged" in refusal(model, tmp_path / "w.pt")


def test_ordered_and_default_dictionaries(path, model, source):
    started(model, path, {"state_dict": collections.OrderedDict(source.state_dict())})
    assert same(model, source)
