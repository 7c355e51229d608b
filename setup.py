"""Lists the packages: three of them live beside hf_ascend/ in the repository and inside it once installed."""

from setuptools import find_namespace_packages, setup

TOPS = {
    "hf_ascend": "hf_ascend",
    "hf_ascend.shims": "shims",
    "hf_ascend.kernels": "kernels",
    "hf_ascend.conformance": "conformance",
}

packages = [
    name
    for top, folder in TOPS.items()
    for name in (top, *(f"{top}.{p}" for p in find_namespace_packages(folder)))
    if "__pycache__" not in name
]
data = ["*.json", "*.json.gz", "*.cc", "*.h", "*.html", "py.typed"]
setup(packages=packages, package_dir=TOPS, package_data={"": data})
