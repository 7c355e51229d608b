"""Parity with PyTorch, measured.

Architectures, `hf-ascend conformance`; in the order of the work:

`catalog`       tiny configurations with inputs and labels, as data (catalog.json.gz, sample.json)
`build`         an entry's model and inputs
`checks`        the five checks of an entry, with `compare`, `conditioning`, `rounding` and `parting` as its measures
`worker`        what a worker process does
`sweep`         processes, time limits, results that resume
`known`         known failures (known_failures.json)
`report`        docs/SUPPORTED.md and the HTML page (report.html)
`checkpoint`    one checkpoint, submodule by submodule

Operators, `hf-ascend conformance operators`: `operators` runs, `operators_names` finds what is in use,
`operators_check` compares, `operators_table` has skips and tolerances, `operators_ascend` reads what is called on
Ascend, `operators_report` writes docs/OPERATORS.md.

Training, `hf-ascend conformance training`: `training` compares fifty steps in six ways. Clients as they are, each a
command of its own: `peft_suite` runs peft's tests, `examples_suite` transformers' example scripts.

`coverage`      which torch names and tensor methods a package uses, and whether each is native, a fallback or missing

results/ holds what was measured; nothing in it is written by hand.
"""
