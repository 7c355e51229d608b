"""The rules table: every retargeted package and every verdict that is not the default.

A module of a retargeted package is

* **executed**: its source runs against the stand-ins, under the name `hf_ascend.<package>.<module>`;
* **shared**: `hf_ascend.<package>.<module>` is the very module object that everyone else imports;
* **replaced**: a file of ours at the same relative path under `shims/<package>/` stands in for it;
* **absent**: a part of torch that belongs to another device or compiler. It imports, so that code which only
  names it loads, and says so when it is used.

The default is: a file under shims/ replaces; a module whose text mentions torch is executed; the rest
is shared. Packages (`__init__` files) are executed, because a shared package would receive our
submodules as attributes and so change for its other users. Patterns are `fnmatch` patterns of the
module's name below its package; the first one that matches decides. A rule that only some releases need
names them, so that it can go when the oldest supported one has moved on.
"""

import enum
import fnmatch
import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata

from packaging.specifiers import SpecifierSet


class Verdict(enum.Enum):
    """What `hf_ascend.<package>.<module>` is; MISSING modules are not found."""

    EXECUTED = "executed"
    SHARED = "shared"
    REPLACED = "replaced"
    ABSENT = "absent"
    MISSING = "missing"


E, S, A, M = Verdict.EXECUTED, Verdict.SHARED, Verdict.ABSENT, Verdict.MISSING


@dataclass(frozen=True)
class Rule:
    """`pattern` gets `verdict`, because of `why`, in the `releases` of the package (such as "<5.9"; "" means all)."""

    pattern: str
    verdict: Verdict
    why: str
    releases: str = ""

    def matches(self, module: str, release: Callable[[], str | None]) -> bool:
        """Whether it decides about `module`. A release that is not known (None) is taken to be a new one."""
        if not fnmatch.fnmatchcase(module, self.pattern):
            return False
        return not self.releases or SpecifierSet(self.releases).contains(release() or "9999", prereleases=True)


@dataclass(frozen=True)
class Package:
    """One retargeted package. `touches` finds the text that makes a module need the stand-ins."""

    name: str
    rules: tuple[Rule, ...] = ()
    touches: str = r"\btorch\b"
    strings: dict[str, str] = field(default_factory=dict)
    """Module pattern -> regular expression of string literals that name modules and must follow them."""


TRANSFORMERS = Package(
    "transformers",
    (
        Rule("models.*.configuration_*", S, "one config object serves both worlds"),
        Rule("configuration_utils", S, "base class of the shared configs"),
        Rule("generation.configuration_utils", S, "GenerationConfig is plain data"),
        Rule("modeling_rope_utils", E, "computes tensors; shared configs use the real one's validation"),
        Rule("utils.hub", S, "downloads files and never sees a tensor"),
        Rule("utils.logging", S, "one verbosity setting"),
        Rule("utils.quantization_config", S, "plain data inside configs"),
        Rule("models.*.tokenization_*", E, "subclasses of an executed base class"),
        Rule("models.*.processing_*", E, "subclasses of an executed base class"),
        Rule("models.*.feature_extraction_*", E, "subclasses of an executed base class"),
        Rule("models.*.image_processing_*", E, "subclasses of an executed base class"),
        Rule("models.*.image_processor_*", E, "subclasses of an executed base class"),
        Rule("models.*.video_processing_*", E, "subclasses of an executed base class"),
        Rule("models.*.generation_*", E, "works on executed models"),
        Rule("models.auto.*", E, "maps names to classes of executed modules"),
        Rule("tokenization_*", E, "decodes tensors"),
        Rule("convert_slow_tokenizer", E, "compares classes of executed tokenizers"),
        Rule("feature_extraction_*", E, "makes tensors"),
        Rule("pipelines.*", E, "runs models"),
        Rule("decision.configuration_utils", S, "plain data"),
        Rule("decision.*", E, "runs models"),
        Rule("quantizers.*", E, "subclasses of an executed base class"),
        Rule("integrations.*", E, "patches models of executed modules"),
        Rule("exporters.*", E, "works on executed models"),
        Rule("generation.*", E, "works on executed caches and models"),
        Rule("conversion_mapping", E, "makes instances of executed weight converters"),
        Rule("image_processing_base", E, "returns an executed module's BatchFeature"),
        Rule("image_processing_utils", E, "base class of executed image processors", "<5.9"),
        Rule("backbone_utils", E, "makes backbones of executed modules", "<5.9"),
        Rule("hyperparameter_search", E, "belongs to the executed Trainer"),
        Rule("trainer_*", E, "belongs to the executed Trainer"),
        Rule("training_args*", E, "belongs to the executed Trainer"),
        Rule("utils.notebook", E, "belongs to the executed Trainer"),
        Rule("utils.chat_parsing.*", E, "works with executed tokenizers"),
        Rule("utils.loading_report", E, "reports on executed models"),
        Rule("cli.*", S, "upstream's own command line keeps upstream's modules"),
    ),
    strings={"initialization": r"torch\.nn\.[\w.]+", "pipelines": r"transformers\.pipelines\.[\w.]+"},
)

# Where transformers puts a model's own code (trust_remote_code); the package appears in its cache on first use.
REMOTE_CODE = Package(
    "transformers_modules",
    (Rule("*configuration*", S, "loaded by the shared AutoConfig"),),
    touches=r"\b(torch|transformers|torchvision|timm)\b",
)

_PURE = "pure Python over tensors"
TORCH = Package(
    "torch",
    (
        Rule("nn.parallel*", A, "data parallelism is MindSpore's"),
        Rule("nn.modules", E, _PURE),
        Rule("nn.modules.*", E, _PURE),
        Rule("nn.functional", E, _PURE),
        Rule("nn.init", E, _PURE),
        Rule("nn.common_types", E, _PURE),
        Rule("__future__", E, _PURE),
        Rule("_opaque_base", E, _PURE),
        Rule("_lowrank", E, "pure Python over tensors, with random numbers from the stand-in's generator"),
        Rule("_linalg_utils", E, _PURE),
        Rule("utils.data.datapipes*", A, "deprecated upstream"),
        Rule("nn._reduction", E, _PURE),
        Rule("nn.grad", E, _PURE),
        Rule("nn.utils", E, _PURE),
        Rule("nn.utils.*", E, _PURE),
        Rule("optim", E, _PURE),
        Rule("optim.*", E, _PURE),
        Rule("distributions", E, _PURE),
        Rule("distributions.*", E, _PURE),
        Rule("amp.autocast_mode", E, _PURE),
        Rule("amp.grad_scaler", E, _PURE),
        Rule("cuda.amp", E, "torch.amp under older names"),
        Rule("cuda.amp.*", E, "torch.amp under older names"),
        Rule("utils.data", E, _PURE),
        Rule("utils.data.*", E, _PURE),
        Rule("utils.hooks", E, _PURE),
        Rule("utils._pytree", E, "plain containers; a registry of its own"),
        Rule("utils._foreach_utils", E, _PURE),
        Rule("utils._exposed_in", S, "a decorator"),
        Rule("torch_version", S, "compares version strings"),
        Rule("_torch_docs", S, "documentation strings"),
        Rule("utils._typing_utils", S, "copies signatures"),
        Rule("_vendor*", S, "version parsing"),
        Rule("_namedtensor_internals", S, "strings"),
        Rule("utils._import_utils", S, "asks what is installed"),
        Rule("fx*", A, "graphs are captured by MindSpore"),
        Rule("hub", E, "downloads, and reads with the stand-in's torch.load"),
        Rule("utils.model_zoo", E, "names of torch.hub"),
        Rule("_dynamo.*", A, "PyTorch's compiler"),
        Rule("export*", A, "graphs are exported by MindSpore"),
        Rule("onnx*", A, "graphs are exported by MindSpore"),
        Rule("_higher_order_ops*", A, "PyTorch's compiler"),
        Rule("_inductor*", A, "PyTorch's compiler"),
        Rule("_subclasses*", A, "PyTorch's dispatcher"),
        Rule("_ops*", A, "PyTorch's dispatcher"),
        Rule("utils._sympy*", A, "PyTorch's compiler"),
        Rule("ao*", A, "PyTorch's quantisation"),
        Rule("distributed.*", A, "collectives are MindSpore's"),
        Rule("nn.attention*", A, "kernels are chosen by hf_ascend.kernels"),
        Rule("profiler*", A, "profiling is MindSpore's"),
        Rule(
            "utils.tensorboard", E, "pure Python over tensors; needs tensorboard, else transformers takes tensorboardX"
        ),
        Rule("utils.tensorboard.*", E, _PURE),
        Rule("utils.cpp_extension", A, "builds for PyTorch"),
        Rule("multiprocessing", S, "the standard library's, with sharing of tensors that nothing here uses"),
        Rule("*", M, "not needed by any retargeted package so far"),
    ),
)

SAFETENSORS = Package("safetensors", (Rule("*", S, "only the torch binding knows tensors"),))
GGUF = Package("gguf", (Rule("*", S, "arrays, not tensors"),))

# Everything of these is executed: a shared module would import all of the real package, with its own state and
# registries; and real torchvision's binary need not fit the installed torch.
ACCELERATE = Package("accelerate", (Rule("*", E, "one state of processes and devices for all of its modules"),))
PEFT = Package("peft", (Rule("*", E, "tuners, and configurations that find them in a registry"),))
TRL = Package("trl", (Rule("*", E, "trainers, and what they share"),))
TIMM = Package("timm", (Rule("*", E, "models, layers and preprocessing over tensors"),))
TORCHVISION = Package(
    "torchvision",
    (
        Rule("_meta_registrations", A, "PyTorch's dispatcher"),
        Rule("_autograd_registrations", A, "PyTorch's dispatcher"),
        Rule("models.quantization*", A, "PyTorch's quantisation"),
        Rule("models.feature_extraction", A, "graphs are captured by MindSpore"),
        Rule("*", E, "transforms, models and operators over tensors"),
    ),
)

PACKAGES: dict[str, Package] = {
    p.name: p for p in (TORCH, TRANSFORMERS, REMOTE_CODE, SAFETENSORS, GGUF, ACCELERATE, PEFT, TRL, TORCHVISION, TIMM)
}


def add_package(name: str) -> None:
    """Retarget one more installed package, with the default verdicts. Call it before its first import."""
    PACKAGES.setdefault(name, Package(name, touches=r"\b(" + "|".join(PACKAGES) + r")\b"))


@functools.cache
def release_of(package: str) -> str | None:
    """The version of an installed package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _deciding(package: Package, module: str) -> Rule | None:
    return next((r for r in package.rules if r.matches(module, lambda: release_of(package.name))), None)


def verdict(package: Package, module: str, is_package: bool, read_source: Callable[[], str]) -> Verdict:
    """The verdict for `module` (dotted, below the package; "" is the package itself) that no shim replaces."""
    rule = _deciding(package, module) if module else None
    if rule is not None:
        return rule.verdict
    if is_package:
        return E
    return E if re.search(package.touches, read_source()) else S


def reason(package: Package, module: str, only: Verdict | None = None) -> str:
    """The table's reason for a module's verdict ("" if no rule matches, or not with verdict `only`)."""
    rule = _deciding(package, module)
    return rule.why if rule is not None and only in (None, rule.verdict) else ""
