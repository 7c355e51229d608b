"""Run by test_isolation in a process of its own: the real worlds before and after hf_ascend is used; prints JSON."""

import json
import sys
import types

import mindspore as ms
import numpy as np
import torch
import transformers
from mindspore import nn, ops

CONFIG = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 40
}  # fmt: skip
WATCHED = ("torch", "transformers", "mindspore", "safetensors", "accelerate", "timm", "torchvision")
CLASSES = {
    "torch.Tensor": torch.Tensor, "torch.nn.Module": torch.nn.Module, "torch.nn.Linear": torch.nn.Linear,
    "torch.nn.Parameter": torch.nn.Parameter, "torch.optim.AdamW": torch.optim.AdamW,
    "PreTrainedModel": transformers.PreTrainedModel, "BertModel": transformers.BertModel,
    "PreTrainedConfig": transformers.PreTrainedConfig, "BertConfig": transformers.BertConfig,
    "GenerationConfig": transformers.GenerationConfig, "Cell": nn.Cell, "Parameter": ms.Parameter, "Dense": nn.Dense,
}  # fmt: skip


def torch_results():
    torch.manual_seed(3)
    x = torch.randn(4, 5, requires_grad=True)
    y = torch.nn.functional.layer_norm(torch.matmul(x, torch.arange(15.0).view(5, 3)), (3,)).tanh().sum()
    y.backward()
    return [y.item(), x.grad.tolist(), torch.rand(3).tolist(), str(x.dtype), torch.get_default_dtype() is torch.float32]


def transformers_results():
    torch.manual_seed(5)
    model = transformers.BertForSequenceClassification(transformers.BertConfig(**CONFIG)).eval()
    ids = torch.tensor([[1, 2, 3, 4]])
    out = model(input_ids=ids, labels=torch.tensor([1]))
    out.loss.backward()
    grads = [p.grad.abs().sum().item() for p in model.parameters() if p.grad is not None]
    return [out.logits.tolist(), out.loss.item(), grads, type(model).__module__, transformers.set_seed.__module__]


class Net(nn.Cell):
    def __init__(self):
        super().__init__()
        self.dense = nn.Dense(3, 2, weight_init="ones", bias_init="zeros")
        self.scale = ms.Parameter(ms.Tensor([2.0, 3.0], ms.float32), name="scale")

    def construct(self, x):
        return ops.tanh(self.dense(x)) * self.scale


@ms.jit
def compiled(a):
    return a * 2 + 1


def plain(value):
    """JSON's view of a result, with the kind of object it was."""
    if isinstance(value, ms.Tensor):
        array = value.asnumpy()
        shown = array.astype(np.float64).round(6) if array.dtype.kind == "f" else array
        return [type(value).__module__, type(value).__name__, str(value.dtype), shown.tolist()]
    if isinstance(value, (tuple, list)):
        return [type(value).__name__, *map(plain, value)]
    return [type(value).__name__, str(value)]


def mindspore_results():
    x = ms.Tensor(np.arange(6, dtype=np.float32).reshape(2, 3))
    net = Net()
    loss = lambda a: net(a).sum()  # noqa: E731
    step = ms.value_and_grad(loss, None, net.trainable_params())
    value, grads = step(x)
    opt = nn.SGD(net.trainable_params(), learning_rate=0.1)
    opt(grads)
    named = {
        "size": x.size, "shape": x.shape, "ndim": x.ndim, "dtype": x.dtype, "max": x.max(), "min axis": x.min(axis=0),
        "argmax": x.argmax(), "sum": x.sum(), "mean": x.mean(axis=1), "T": x.T, "view": x.view(3, 2),
        "item": x[1, 2].item(),
        "slice": x[:, 1], "add": x + 1, "radd": 1 + x, "matmul": ops.matmul(x, x.T), "eq": x == x,
        "astype": x.astype(ms.int32),
        "to": x.to(ms.float16), "reshape": x.reshape(-1), "transpose": x.transpose(1, 0), "split": x.split(1, axis=0),
        "copy": x.copy(), "repr": repr(x), "str": str(x), "len": len(x), "itemsize": x.itemsize, "nbytes": x.nbytes,
        "isinstance": isinstance(x, ms.Tensor), "where": ops.where(x > 2, x, -x), "softmax": ops.softmax(x),
        "concat": ops.cat((x, x)), "topk": ops.top_k(x, 2), "grad": ms.grad(lambda a: (a * a).sum())(x),
        "value": value, "grads": grads, "after step": net(x), "parameters": [p.name for p in net.get_parameters()],
        "trainable": len(net.trainable_params()),
        "train flag": net.set_train(False).training, "cells": len(list(net.cells())),
        "jit": compiled(x), "ones": ops.ones((2, 2), ms.float32), "mode": ms.get_context("mode"),
        "requires_grad": net.scale.requires_grad, "is int": isinstance(x.size, int), "setitem": _assigned(x),
    }  # fmt: skip
    return {k: plain(v) for k, v in named.items()}


def _assigned(x):
    y = x.copy()
    y[0] = 9
    return y


def snapshot():
    modules = {
        n: m for n, m in sys.modules.items() if n.partition(".")[0] in WATCHED and isinstance(m, types.ModuleType)
    }
    return (
        {n: (m, m.__spec__, m.__dict__.get("__loader__"), dict(vars(m))) for n, m in modules.items()},
        {n: dict(vars(c)) for n, c in CLASSES.items()},
        dict(vars(ms.Tensor)),
    )


def module_changes(before):
    """What is different in modules that existed; a submodule, or a name that a lazy package resolved, may be new."""
    out = []
    for name, (module, spec, loader, names) in before.items():
        now = sys.modules.get(name)
        if now is not module or now.__spec__ is not spec or now.__dict__.get("__loader__") is not loader:
            same = {"module": now is module, "spec": getattr(now, "__spec__", None) is spec}
            out.append(f"{name}: not the same module, spec or loader: {same}")
            continue
        for key, value in vars(module).items():
            if key not in names:
                origin = value.__name__ if isinstance(value, types.ModuleType) else getattr(value, "__module__", "")
                if str(origin).startswith("hf_ascend"):
                    out.append(f"{name}.{key}: ours was added")
            elif value is not names[key] and not _counter(name, key):
                out.append(f"{name}.{key}: changed")
        out += [f"{name}.{key}: gone" for key in names if key not in vars(module)]
    return out


def _counter(module, key):
    """What MindSpore keeps in module variables: the seed, which manual_seed is there to set."""
    return (module, key) == ("mindspore.common.seed", "_GLOBAL_SEED")


def class_changes(before):
    out = []
    for name, names in before.items():
        now = vars(CLASSES[name])
        keys = {*names, *now} - {"__slotnames__"}  # the standard library's copy keeps it there
        out += [f"{name}.{k}" for k in keys if names.get(k) is not now.get(k)]
    return out


def tensor_changes(before):
    """Attributes of mindspore.Tensor that mean something else now; new ones are allowed where there was none."""
    now = vars(ms.Tensor)
    return [k for k, v in before.items() if now.get(k) is not v]


def use_hf_ascend():
    import hf_ascend

    t = hf_ascend.torch
    t.manual_seed(11)
    model = hf_ascend.BertForSequenceClassification(hf_ascend.BertConfig(**CONFIG))
    optimizer = t.optim.AdamW(model.parameters(), lr=1e-2)
    first = None
    for _ in range(3):
        loss = model(input_ids=t.tensor([[1, 2, 3, 4]]), labels=t.tensor([1])).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        first = first or loss.item()
    llama = hf_ascend.LlamaForCausalLM(hf_ascend.LlamaConfig(**CONFIG, num_key_value_heads=1)).eval()
    out = llama.generate(t.tensor([[1, 2, 3]]), max_new_tokens=3, min_new_tokens=3, do_sample=False)
    with t.no_grad():
        model(input_ids=np.array([[1, 2]]))
    return {"learned": loss.item() < first, "generated": list(out.shape), "tensor": type(out).__module__}


def main():
    before = {"torch": torch_results(), "transformers": transformers_results(), "mindspore": mindspore_results()}
    modules, classes, tensor = snapshot()
    used = use_hf_ascend()
    changed = {"modules": module_changes(modules), "classes": class_changes(classes), "tensor": tensor_changes(tensor)}
    after = {"torch": torch_results(), "transformers": transformers_results(), "mindspore": mindspore_results()}
    print(json.dumps({"before": before, "after": after, "used": used, "changed": changed}))


if __name__ == "__main__":
    main()
