"""Kernels compiled on the user's machine by LLVM, which comes as a library: no compiler has to be there."""
