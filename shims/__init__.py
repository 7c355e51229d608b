"""Stand-ins for modules that upstream code imports, at upstream's relative paths.

`shims/<package>/<module>.py` replaces `<package>.<module>` for retargeted code, which imports it as
`hf_ascend.<package>.<module>`; `hf_ascend.shims.<package>` is another name for the same module. Each
replacement says in its docstring why upstream's module could not be executed.
"""
