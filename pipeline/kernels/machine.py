"""What the processor does and Python has no words for.

Each is an intrinsic of numba with a plain twin, for NUMBA_DISABLE_JIT=1. An index is checked as
that of an array is: where bounds are checked, any out of bounds raises IndexError. (The elements
that are named for that, and not used, cost nothing elsewhere.)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from pipeline.kernels.jit import inner


def _loader(kind: Any) -> Any:
    """Return an intrinsic that reads an integer of this type from any byte of an array on."""

    @intrinsic
    def load(typingctx: Any, array: Any, index: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            data = context.make_array(signature.args[0])(context, builder, args[0]).data
            pointer = context.get_value_type(kind).as_pointer()
            return builder.load(builder.bitcast(builder.gep(data, [args[1]]), pointer), align=1)

        return kind(array, types.int64), codegen

    return load


_load_word, _load_half = _loader(types.uint64), _loader(types.uint32)


@intrinsic
def _multiply(typingctx: Any, first: Any, second: Any) -> Any:
    """Return the two halves of a product of 128 bits, combined by an exclusive or."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        single, double = ir.IntType(64), ir.IntType(128)
        product = builder.mul(*(builder.zext(factor, double) for factor in args))
        high = builder.trunc(builder.lshr(product, double(64)), single)
        return builder.xor(builder.trunc(product, single), high)

    return types.uint64(types.uint64, types.uint64), codegen


@intrinsic
def _multiply_high(typingctx: Any, first: Any, second: Any) -> Any:
    """Return the upper half of a product of 128 bits."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        single, double = ir.IntType(64), ir.IntType(128)
        product = builder.mul(*(builder.zext(factor, double) for factor in args))
        return builder.trunc(builder.lshr(product, double(64)), single)

    return types.uint64(types.uint64, types.uint64), codegen


@intrinsic
def _prefetch(typingctx: Any, array: Any, index: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        function = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        place = builder.bitcast(builder.gep(data, [args[1]]), byte)
        builder.call(function, [place, word(0), word(3), word(1)])
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen


@intrinsic
def _copy(typingctx: Any, to: Any, at: Any, source: Any, start: Any, size: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        to, at, source, start, size = args
        to = context.make_array(signature.args[0])(context, builder, to).data
        source = context.make_array(signature.args[2])(context, builder, source).data
        places = builder.gep(to, [at]), builder.gep(source, [start])
        cgutils.raw_memcpy(builder, *places, size, 1)
        return context.get_dummy_value()

    integer = types.int64
    return types.void(to, integer, source, integer, integer), codegen


if config.DISABLE_JIT:

    def _load_word(text: Any, at: Any) -> Any:
        return text[at : at + 8].view(np.uint64)[0]

    def _load_half(text: Any, at: Any) -> Any:
        return text[at : at + 4].view(np.uint32)[0]

    def _multiply(first: Any, second: Any) -> Any:
        product = int(first) * int(second)
        return np.uint64(product >> 64 ^ product & (1 << 64) - 1)

    def _multiply_high(first: Any, second: Any) -> Any:
        return np.uint64(int(first) * int(second) >> 64)

    def _prefetch(array: Any, at: Any) -> None:
        pass

    def _copy(to: Any, at: Any, source: Any, start: Any, size: Any) -> None:
        to[at : at + size] = source[start : start + size]


@inner
def load_word(text: Any, at: Any) -> Any:
    """Return the eight bytes of `text` (uint8) from `at` on as one uint64."""
    text[at], text[at + 7]
    return _load_word(text, np.int64(at))


@inner
def load_half(text: Any, at: Any) -> Any:
    """Return the four bytes of `text` (uint8) from `at` on as one uint64."""
    text[at], text[at + 3]
    return np.uint64(_load_half(text, np.int64(at)))


@inner
def fold(first: Any, second: Any) -> Any:
    """Return both halves of the product of two uint64, combined by an exclusive or."""
    return _multiply(first, second)


@inner
def high_product(first: Any, second: Any) -> Any:
    """Return the upper half of the product of two uint64."""
    return _multiply_high(first, second)


@inner
def prefetch(array: Any, at: Any) -> None:
    """Have the processor bring `array[at]` into its cache; any `at` will do."""
    _prefetch(array, np.int64(at))


@inner
def copy(to: Any, at: Any, source: Any, start: Any, size: Any) -> None:
    """Copy `size` bytes of `source` (uint8) from `start` on to `to` (uint8) from `at` on."""
    if size > 0:
        to[at], to[at + size - 1], source[start], source[start + size - 1]
        _copy(to, np.int64(at), source, np.int64(start), np.int64(size))
