"""The chapters of the lab: a file measures, and the .toml beside it says in both languages what is claimed.

An experiment takes (device, budget) and yields one `Finding` per claim, in the order of its words. It stands in
`__all__` of its file under the name that its table has in the .toml; nothing else lists it. `separable_memory` is a
part of the chapter `separable`.
"""
