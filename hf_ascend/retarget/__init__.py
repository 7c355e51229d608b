"""Runs upstream packages against our stand-ins instead of PyTorch.

In the order of execution:

1. `rules`    one table: which packages are retargeted, and the verdict for each of their modules.
2. `finder`   an import hook for the names `hf_ascend.<package>...` that carries the verdicts out.
3. `rewrite`  rewrites the import statements of an executed module's syntax tree.
4. `cache`    keeps the compiled result on disk, so that this costs nothing the second time.
5. `script`   `hf-ascend run`: the same for a user's script and the modules beside it.

Nothing here knows torch or mindspore, and importing it imports neither.
"""

from hf_ascend.retarget.finder import install, upstream_file
from hf_ascend.retarget.rules import PACKAGES, Package, Verdict, verdict

__all__ = ["PACKAGES", "Package", "Verdict", "install", "upstream_file", "verdict"]
