"""transformers.modeling_utils, executed, with loading and saving that know the device.

Upstream's loader is kept whole. What is put around it: the forms of the dtype argument and float32 as the
CPU's default, MindSpore checkpoints, errors that name file and tensor, and saves that are complete or have
not happened.
"""

import dataclasses
import inspect
import json
import os
import pickle
from typing import Any
from zipfile import is_zipfile

import torch as real

from hf_ascend.loading import checks, dtypes, mindspore, stream
from hf_ascend.loading.staging import staged

from . import modeling_utils__upstream as upstream
from .modeling_utils__upstream import *  # noqa: F403
from .modeling_utils__upstream import PreTrainedModel, logger

try:
    from huggingface_hub.utils import httpx  # whichever of httpx and httpx2 this release of the hub speaks HTTP with
except ImportError:
    import httpx

_from_pretrained = PreTrainedModel.from_pretrained.__func__  # type: ignore[attr-defined]
_from_config = PreTrainedModel._from_config.__func__
_save_pretrained = PreTrainedModel.save_pretrained
_upload_modified_files = PreTrainedModel._upload_modified_files
_load_pretrained_model = PreTrainedModel._load_pretrained_model
_finalize_model_loading = PreTrainedModel._finalize_model_loading
_upstream_get_dtype = upstream._get_dtype
_upstream_resolve = upstream._get_resolved_checkpoint_files
_upstream_load_state_dict = upstream.load_state_dict
_DAMAGE = (pickle.UnpicklingError, EOFError, RuntimeError, KeyError)
"""What torch.load raises for a file that is cut off, is something else, or holds code."""


def _like(ours: Any, theirs: Any) -> Any:
    """Give `ours` upstream's name, documentation and signature."""
    ours.__name__, ours.__qualname__, ours.__doc__ = theirs.__name__, theirs.__qualname__, theirs.__doc__
    ours.__signature__ = inspect.signature(theirs)
    return ours


# ---- dtype
def _tell(stored: Any, chosen: Any) -> None:
    if stored is not None and stored != chosen:
        logger.warning_once(
            f"This process runs on the CPU, where weights stored as {str(stored).removeprefix('torch.')} are used as "
            f"{str(chosen).removeprefix('torch.')}. Pass dtype={str(stored)!r} to keep them as they are stored."
        )


def _get_dtype(
    dtype: Any, checkpoint_files: Any, config: Any, sharded_metadata: Any, state_dict: Any, weights_only: bool,
    hf_quantizer: Any = None,
) -> tuple[Any, Any]:  # fmt: skip
    """Upstream's `_get_dtype` for all forms of the argument; on the CPU the default is float32."""
    rest = (checkpoint_files, config, sharded_metadata, state_dict, weights_only)
    wanted = dtypes.requested(dtype)
    if dtypes.is_default(wanted):
        stored = _upstream_get_dtype("auto", *rest)[1]
        header = getattr(hf_quantizer, "header", None)
        stored = header.dtype if stored is None and header is not None else stored
        wanted = dtypes.preferred(stored)
        _tell(stored, wanted)
        config.dtype = dtypes.to_real(wanted)
    config, chosen = _upstream_get_dtype("auto" if wanted is None else wanted, *rest, hf_quantizer)
    chosen = None if chosen is None else dtypes.requested(chosen)
    return dtypes.into_config(config), chosen


def from_config(cls: Any, config: Any, **kwargs: Any) -> Any:
    """Upstream's `_from_config` for all forms of the dtype argument."""
    torch_dtype = kwargs.pop("torch_dtype", None)
    given = kwargs.pop("dtype", torch_dtype)
    wanted = dtypes.requested(given)
    if dtypes.is_default(wanted):
        stored = dtypes.requested(config.dtype) if config.dtype is not None else None
        wanted = dtypes.preferred(stored)
        _tell(stored, wanted)
    model = _from_config(cls, config, dtype=wanted, **kwargs)
    dtypes.into_config(config)
    dtypes.into_config(model.config)
    return model


# ---- files
def _get_resolved_checkpoint_files(*args: Any, **kwargs: Any) -> Any:
    """Upstream's, which also finds a MindSpore checkpoint in a local folder and misses missing shards."""
    call = inspect.signature(_upstream_resolve).bind(*args, **kwargs).arguments
    folder = call.get("pretrained_model_name_or_path")
    if folder is not None and call.get("gguf_file") is None and not call.get("use_safetensors"):
        subfolder = (call.get("download_kwargs") or {}).get("subfolder", "")
        if ckpt := mindspore.find(folder, subfolder, call.get("variant")):
            return [ckpt], None
    try:
        files, metadata = _upstream_resolve(*args, **kwargs)
    except json.JSONDecodeError as error:
        raise checks.index_file(error, folder) from error
    checks.shards(files, metadata)
    return files, metadata


def load_state_dict(
    checkpoint_file: Any, map_location: Any = "cpu", weights_only: bool = True, *args: Any, **kwargs: Any
) -> Any:
    """Upstream's `load_state_dict`, which also reads model.ckpt; code in a pickle is always refused.

    The rest of the arguments differs from release to release.
    """
    path = os.fspath(checkpoint_file)
    if path.endswith(".ckpt"):
        return mindspore.load_mindspore_checkpoint(path)
    if path.endswith(".safetensors"):
        return _upstream_load_state_dict(checkpoint_file, map_location, True, *args, **kwargs)
    try:
        return _upstream_load_state_dict(checkpoint_file, map_location, True, *args, **kwargs)
    except _DAMAGE as error:
        raise checks.refused_pickle(path, error) from error


def _pickled(files: list[str]) -> dict[str, Any]:
    """Name -> FileTensor of checkpoints written by torch.save."""
    upstream.check_torch_load_is_safe()
    out: dict[str, Any] = {}
    for file in files:
        mapped = is_zipfile(file)
        try:
            held = real.load(file, map_location="cpu", weights_only=True, mmap=mapped)
        except _DAMAGE as error:
            raise checks.refused_pickle(file, error) from error
        if not isinstance(held, dict):
            raise pickle.UnpicklingError(f"{file} holds a {type(held).__name__}, not a dict of tensors")
        for name, t in held.items():
            if isinstance(t, real.Tensor):
                t = t.detach()
                out[name] = stream.FileTensor(lambda t=t: t, file, name, t.nbytes, mapped and t.is_contiguous())
    return out


def _load(
    model: Any, state_dict: Any, checkpoint_files: Any, load_config: Any, *args: Any, **kwargs: Any
) -> tuple[Any, Any]:
    """Upstream's `_load_pretrained_model`; pickles and MindSpore checkpoints come in as tensors in their files."""
    own_names = False
    if state_dict is None and checkpoint_files:
        if checkpoint_files[0].endswith(".ckpt"):
            state_dict, own_names = mindspore.file_tensors(checkpoint_files[0]), True
            load_config = dataclasses.replace(load_config, weight_mapping=[])  # it holds the model's own names
        elif not checkpoint_files[0].endswith(".safetensors"):
            state_dict = _pickled(checkpoint_files)
    info, offloaded = _load_pretrained_model(model, state_dict, checkpoint_files, load_config, *args, **kwargs)
    if own_names:
        model._weight_conversions = None  # so that save_pretrained writes upstream's names
    info.files = checkpoint_files
    return info, offloaded


def _finalize(model: Any, load_config: Any, loading_info: Any) -> Any:
    """Upstream's `_finalize_model_loading`, whose error says which tensors of which file do not fit."""
    try:
        return _finalize_model_loading(model, load_config, loading_info)
    except RuntimeError as error:
        fatal = loading_info.conversion_errors or not load_config.ignore_mismatched_sizes
        if not fatal or not (loading_info.conversion_errors or loading_info.mismatched_keys):
            raise
        where = load_config.pretrained_model_name_or_path
        found = checks.mismatches(loading_info, getattr(loading_info, "files", None), where)
        raise RuntimeError(f"{type(model).__name__} could not be loaded from {where}.\n  {found}\n{error}") from error


def from_pretrained(cls: Any, pretrained_model_name_or_path: Any, *model_args: Any, **kwargs: Any) -> Any:
    for name in ("dtype", "torch_dtype"):
        if name in kwargs:
            kwargs[name] = dtypes.requested(kwargs[name])
    try:
        out = _from_pretrained(cls, pretrained_model_name_or_path, *model_args, **kwargs)
    except (ValueError, OSError) as error:
        told = checks.named(error, pretrained_model_name_or_path)
        if told is error:
            raise
        raise told from error
    dtypes.into_config((out[0] if isinstance(out, tuple) else out).config)
    return out


# ---- saving
def save_pretrained(self: Any, save_directory: Any, *args: Any, **kwargs: Any) -> None:
    call = inspect.signature(_save_pretrained).bind(self, save_directory, *args, **kwargs)
    call.apply_defaults()
    if os.path.isfile(save_directory) or call.arguments.get("distributed_checkpoint"):
        _save_pretrained(self, save_directory, *args, **kwargs)
        return
    push, extra = call.arguments["push_to_hub"], call.arguments.pop("kwargs", {})
    given = {k: v for k, v in call.arguments.items() if k not in ("self", "save_directory", "push_to_hub")}
    hub = {k: extra.pop(k) for k in ("commit_message", "repo_id", "create_pr") if k in extra} if push else {}
    if push:
        before = self._get_files_timestamps(save_directory) if os.path.isdir(save_directory) else {}
        name = hub.get("repo_id") or os.fspath(save_directory).rstrip(os.sep).split(os.sep)[-1]
        token = {"token": given["token"]} if given.get("token") is not None else {}
        hub_api = getattr(upstream, "hf_api", None)  # transformers below 5.15 imports the function
        create_repo = upstream.create_repo if hub_api is None else hub_api().create_repo
        repo = create_repo(name, exist_ok=True, **token, **extra).repo_id
    with staged(save_directory) as aside:
        _save_pretrained(self, aside, **given, **extra)
    dtypes.into_config(self.config)
    if push:
        card = upstream.create_and_tag_model_card(repo, self.model_tags, token=given.get("token"))
        card.save(os.path.join(save_directory, "README.md"))
        self._upload_modified_files(
            save_directory, repo, before, commit_message=hub.get("commit_message"), token=given.get("token"),
            create_pr=hub.get("create_pr", False),
        )  # fmt: skip


def upload_modified_files(self: Any, working_dir: Any, repo_id: str, *args: Any, **kwargs: Any) -> Any:
    """Upstream's; of a broken connection it says neither what was on its way where nor what has become of it."""
    try:
        return _upload_modified_files(self, working_dir, repo_id, *args, **kwargs)
    except Exception as error:
        broken = next((e for e in (error, error.__cause__) if isinstance(e, httpx.TransportError)), None)
        if broken is None:
            raise
        told = str(error) if broken is error else f"{error} {broken}"
        raise ConnectionError(
            f"The upload to {repo_id} broke off: {told} The hub commits all files or none, so {repo_id} holds its "
            "earlier commit, or this one if only the answer was lost. Push again: what has arrived is not sent twice."
        ) from error


def is_custom_code(cls: Any) -> bool:
    """Upstream's question, whether a model is not one of its own, for modules under our prefix."""
    return cls.is_remote_code() or not cls.__module__.removeprefix("hf_ascend.").startswith("transformers.")


upstream._get_dtype = _get_dtype
upstream._get_resolved_checkpoint_files = _get_resolved_checkpoint_files
upstream.load_state_dict = load_state_dict
PreTrainedModel.from_pretrained = classmethod(_like(from_pretrained, _from_pretrained))
PreTrainedModel._from_config = classmethod(_like(from_config, _from_config))
PreTrainedModel.save_pretrained = _like(save_pretrained, _save_pretrained)
PreTrainedModel._upload_modified_files = _like(upload_modified_files, _upload_modified_files)
PreTrainedModel._load_pretrained_model = staticmethod(_load)
PreTrainedModel._finalize_model_loading = staticmethod(_finalize)
if hasattr(PreTrainedModel, "is_custom_code"):  # asked by newer releases only
    PreTrainedModel.is_custom_code = classmethod(_like(is_custom_code, PreTrainedModel.is_custom_code.__func__))


def __getattr__(name: str) -> Any:
    return getattr(upstream, name)
