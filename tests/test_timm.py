"""timm, and the torchvision that it needs, executed: models, transforms and operators give PyTorch's results."""

import importlib

import numpy as np
import pytest
import torch
from PIL import Image

import hf_ascend
from hf_ascend import torch as ours
from hf_ascend.conformance import catalog, checks, vision

vision.ready()
timm = pytest.importorskip("timm", reason="needs hf_ascend[timm]: timm, and a torchvision")
torchvision = pytest.importorskip("torchvision", reason="transformers uses timm only where torchvision is installed")

IMAGE = np.random.RandomState(0).randint(0, 256, (37, 53, 3), dtype=np.uint8)


def there(name):
    """The retargeted module of a real one's name."""
    return importlib.import_module("hf_ascend." + name)


def array(x):
    return x.detach().numpy() if hasattr(x, "detach") else np.asarray(x)


# A classifier, a backbone with statistics in buffers, and a transformer with rotary tables that no checkpoint has.
@pytest.mark.parametrize(
    "entry",
    [
        "timm_wrapper/TimmWrapperForImageClassification",
        "timm_backbone/TimmBackbone",
        "perception_lm/PerceptionLMForConditionalGeneration",
    ],
)
def test_models_of_transformers_on_timm_are_pytorchs(entry):
    found = checks.run(catalog.entries()[entry])["checks"]
    assert {k: v["status"] for k, v in found.items() if v["status"] not in ("match", "none")} == {}, found
    assert [found[k]["status"] for k in ("forward", "gradients", "save")] == ["match"] * 3


@pytest.mark.parametrize("name", ["test_vit", "test_efficientnet", "test_convnext"])
def test_a_timm_model_is_pytorchs(name):
    torch.manual_seed(0)
    real, made = timm.create_model(name).eval(), there("timm").create_model(name).eval()
    made.load_state_dict({k: ours.from_numpy(v.numpy()) for k, v in real.state_dict().items()})
    pixels = np.random.RandomState(1).randn(2, *real.default_cfg["input_size"]).astype(np.float32)
    want, got = real(torch.from_numpy(pixels)), made(ours.from_numpy(pixels))
    np.testing.assert_allclose(array(got), array(want), rtol=1e-4, atol=1e-4)
    want.square().mean().backward()
    got.square().mean().backward()
    gradients = {k: p.grad for k, p in made.named_parameters()}
    for key, p in real.named_parameters():
        allowed = 1e-3 * float(p.grad.abs().max()) + 1e-8
        np.testing.assert_allclose(array(gradients[key]), array(p.grad), rtol=1e-3, atol=allowed, err_msg=key)


def test_real_timm_stays_beside_the_retargeted_one():
    import mindspore

    real, made = timm.create_model("test_resnet"), there("timm").create_model("test_resnet")
    assert isinstance(real, torch.nn.Module)
    assert not isinstance(real, mindspore.nn.Cell)
    assert isinstance(made, mindspore.nn.Cell)
    assert not isinstance(made, torch.nn.Module)
    assert type(real).__module__ == "timm.models.resnet"


def test_timms_preprocessing_is_upstreams():
    def pixels(library):
        config = library.data.resolve_data_config({"input_size": (3, 32, 32)})
        return array(library.data.create_transform(**config)(Image.fromarray(IMAGE)))

    np.testing.assert_array_equal(pixels(there("timm")), pixels(timm))


@pytest.mark.parametrize("name", ["ViTImageProcessor", "CLIPImageProcessor", "DetrImageProcessor"])
def test_image_processors_use_torchvisions_transforms(name):
    import transformers

    want = getattr(transformers, name)()(Image.fromarray(IMAGE), return_tensors="pt")
    made = getattr(hf_ascend, name)()
    got = made(Image.fromarray(IMAGE), return_tensors="pt")
    assert [c.__name__ for c in type(made).__mro__ if c.__name__ == "TorchvisionBackend"]
    assert isinstance(got["pixel_values"], ours.Tensor)
    for key in want:
        np.testing.assert_array_equal(array(got[key]), array(want[key]), err_msg=key)


def _boxes(n, seed):
    r = np.random.RandomState(seed)
    corner = r.rand(n, 2) * 20
    return np.concatenate([corner, corner + 1 + r.rand(n, 2) * 15], 1).astype(np.float32)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7])
def test_nms_keeps_the_best_of_overlapping_boxes(threshold):
    boxes, scores = _boxes(60, 2), np.random.RandomState(3).randint(0, 9, 60).astype(np.float32)  # with equal scores
    overlap = torchvision.ops.box_iou(torch.from_numpy(boxes), torch.from_numpy(boxes)).numpy()
    kept = []
    for i in np.argsort(-scores, kind="stable"):
        if all(overlap[i, k] <= threshold for k in kept):
            kept.append(i)
    got = there("torchvision").ops.nms(ours.from_numpy(boxes), ours.from_numpy(scores), threshold)
    assert got.dtype is ours.int64
    assert got.tolist() == kept
    assert 1 < len(kept) < 60


def test_nms_of_no_boxes_and_of_wrong_shapes():
    nms = there("torchvision").ops.nms
    assert nms(ours.zeros(0, 4), ours.zeros(0), 0.5).tolist() == []
    with pytest.raises(RuntimeError, match=r"\[N, 4\]"):
        nms(ours.zeros(3, 5), ours.zeros(3), 0.5)
    with pytest.raises(RuntimeError, match="scores"):
        nms(ours.zeros(3, 4), ours.zeros(2), 0.5)


def test_roi_align_and_its_gradient_are_upstreams():
    boxes = np.concatenate([np.zeros((7, 1), np.float32), _boxes(7, 4)], 1)
    x = np.random.RandomState(5).randn(1, 3, 20, 24).astype(np.float32)
    # Upstream's own function in Python, without the compiler around it: its binary may not fit torch.
    reference = importlib.import_module("torchvision.ops.roi_align")._roi_align.__wrapped__
    a, b = torch.from_numpy(x.copy()).requires_grad_(), ours.from_numpy(x.copy()).requires_grad_()
    want = reference(a, torch.from_numpy(boxes), 0.5, 4, 5, 2, True)
    got = there("torchvision").ops.roi_align(b, ours.from_numpy(boxes), (4, 5), 0.5, 2, True)
    np.testing.assert_allclose(array(got), array(want), rtol=1e-5, atol=1e-5)
    want.square().sum().backward()
    got.square().sum().backward()
    np.testing.assert_allclose(array(b.grad), array(a.grad), rtol=1e-4, atol=1e-4)


def test_an_operator_of_torchvisions_library_says_that_it_is_missing():
    with pytest.raises(NotImplementedError, match=r"torch\.ops\.torchvision\.roi_pool"):
        there("torchvision").ops.roi_pool(ours.zeros(1, 1, 4, 4), ours.zeros(1, 5), 2)


def test_tv_tensors_keep_their_kind_where_upstream_keeps_it():
    kinds = there("torchvision.tv_tensors")
    x = ours.ones(3, 4, 4, requires_grad=True)
    image = kinds.Image(x)
    for kept in (image, image.clone(), image.detach(), image.to(ours.float64)):
        assert type(kept) is kinds.Image
    assert type(image * 2) is ours.Tensor
    (image * 2).sum().backward()
    assert float(x.grad.sum()) == 96.0
    box = kinds.BoundingBoxes(ours.tensor([[0.0, 0, 1, 2]]), format="XYXY", canvas_size=(4, 4))
    flipped = there("torchvision.transforms.v2.functional").horizontal_flip(box)
    assert type(flipped) is kinds.BoundingBoxes
    assert flipped.tolist() == [[3.0, 0.0, 4.0, 2.0]]
    assert flipped.canvas_size == (4, 4)
    with pytest.raises(NotImplementedError, match="plain tensors"):
        kinds.set_return_type("TVTensor")
