"""The sample of architectures against PyTorch: all modalities and kinds of layer, every check."""

import pytest
import transformers

from hf_ascend.conformance import catalog, checks, known

HEAVY = {"kernels"}  # the Ascend code path of whole models has tests of its own (test_kernels_models)


@pytest.fixture(scope="module", autouse=True)
def quiet():
    import hf_ascend

    for world in (transformers, hf_ascend.transformers):
        world.logging.set_verbosity_error()
        world.logging.disable_progress_bar()


@pytest.mark.parametrize("name", catalog.sample())
def test_matches_pytorch(name):
    wanted = tuple(c for c in catalog.CHECKS if c not in HEAVY)
    found = checks.run(catalog.entries()[name], wanted)["checks"]
    for check, outcome in found.items():
        if known.reason(name, check, transformers.__version__):
            assert outcome["status"] != "match", f"{check} was known to fail and passes: update known_failures.json"
        else:
            assert outcome["status"] in ("match", "none"), f"{check}: {outcome}"
