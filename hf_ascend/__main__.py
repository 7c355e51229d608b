"""`python -m hf_ascend` is `hf-ascend`."""

from hf_ascend.cli import main

main()
