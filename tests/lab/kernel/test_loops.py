"""The words over LLVM's builder, run."""

import ctypes

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir

from cropland.lab.kernel.loops import INDEX, POINTER, Loops, index


def test_a_sum_is_carried_through_a_loop_and_an_empty_one_changes_nothing():
    values, found = np.arange(24, dtype=np.float32), np.zeros(4, np.float32)
    run = compiled(lambda loops, source, count, out: total(loops, source, count, out))
    for count, true in ((24, values.reshape(6, 4).sum(0)), (0, np.zeros(4))):
        run(values.ctypes.data, count, found.ctypes.data)
        assert np.array_equal(found, true)


def total(loops: Loops, source: ir.Value, count: ir.Value, out: ir.Value) -> None:
    def add(i, sums):
        return [loops.build.fadd(sums[0], loops.load(source, i))]

    (found,) = loops.loop(index(0), count, 4, add, carried=[loops.zero()])
    loops.store(found, out, index(0))


def test_spread_multiply_add_and_rectifier():
    values, found = np.array([3, -2, 1, 5], np.float32), np.zeros(4, np.float32)

    def body(loops: Loops, source: ir.Value, count: ir.Value, out: ir.Value) -> None:
        second = loops.spread(source, index(1))
        loops.store(
            loops.not_below_zero(loops.multiply_add(second, second, loops.load(source, index(0)))), out, index(0)
        )

    compiled(body)(values.ctypes.data, 0, found.ctypes.data)
    assert found.tolist() == [7, 2, 5, 9]
    values[1] = 0
    compiled(body)(values.ctypes.data, 0, found.ctypes.data)
    assert found.tolist() == [3, 0, 1, 5]


KEPT = []  # code lives as long as its engine


def compiled(body):
    made = ir.Module()
    function = ir.Function(made, ir.FunctionType(ir.VoidType(), [POINTER, INDEX, POINTER]), "run")
    build = ir.IRBuilder(function.append_basic_block())
    body(Loops(build, 4), *function.args)
    build.ret_void()
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(str(made)), machine)
    engine.finalize_object()
    KEPT.append(engine)
    types = (ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p)
    return ctypes.CFUNCTYPE(None, *types)(engine.get_function_address("run"))
