"""The experiments, one per file; `separable_memory` is a part of the chapter `separable`.

An experiment takes (device, budget) and yields one `Finding` per claim of `claims/NAME.toml`, in that order. Numbers
are measured here, words stand there.
"""
