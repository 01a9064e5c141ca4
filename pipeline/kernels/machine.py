"""Processor instructions that Python cannot express.

Each is a numba intrinsic, with a plain twin for NUMBA_DISABLE_JIT=1. Where bounds are checked, an
index out of bounds raises IndexError, so functions first access the outermost elements, as in
`text[at], text[at + 7]`. Elsewhere, this costs nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from pipeline.kernels.jit import inner

AHEAD = 24  # steps of a loop after which prefetched memory is in the cache


def _pointer(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    """Return a pointer to an element of an array of some type."""
    return builder.gep(context.make_array(kind)(context, builder, array).data, [index])


def _loader(kind: Any) -> Any:
    """Return an intrinsic that reads an integer of a type at any byte of an array."""

    @intrinsic
    def load(typingctx: Any, array: Any, index: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            first = _pointer(context, builder, signature.args[0], *args)
            pointer = context.get_value_type(kind).as_pointer()
            return builder.load(builder.bitcast(first, pointer), align=1)

        return kind(array, types.int64), codegen

    return load


_load_word, _load_half = _loader(types.uint64), _loader(types.uint32)


_LANES, _INDEX = 32, ir.IntType(32)
_VECTOR = ir.VectorType(ir.IntType(8), _LANES)


@intrinsic
def _equal_bits(typingctx: Any, text: Any, at: Any, byte: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        none = ir.Constant(_VECTOR, ir.Undefined)
        one = builder.insert_element(none, builder.trunc(args[2], ir.IntType(8)), _INDEX(0))
        lanes = ir.Constant(ir.VectorType(_INDEX, _LANES), [0] * _LANES)
        every = builder.shuffle_vector(one, none, lanes)
        return _bits(
            context, builder, signature, args, lambda some: builder.icmp_unsigned("==", some, every)
        )

    return types.uint64(text, types.int64, types.int64), codegen


@intrinsic
def _high_bits(typingctx: Any, text: Any, at: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        zeros = ir.Constant(_VECTOR, [0] * _LANES)
        return _bits(
            context, builder, signature, args, lambda some: builder.icmp_signed("<", some, zeros)
        )

    return types.uint64(text, types.int64), codegen


def _bits(context: Any, builder: Any, signature: Any, args: Any, compare: Any) -> Any:
    """Compare 64 bytes from `args[1]` on, 32 at a time; return a bit for each."""
    first = _pointer(context, builder, signature.args[0], *args[:2])
    first = builder.bitcast(first, _VECTOR.as_pointer())
    halves = []
    for number in range(2):
        some = builder.load(builder.gep(first, [_INDEX(number)]), align=1)
        bits = builder.bitcast(compare(some), ir.IntType(_LANES))
        halves.append(builder.zext(bits, ir.IntType(64)))
    return builder.or_(halves[0], builder.shl(halves[1], ir.IntType(64)(_LANES)))


@intrinsic
def _copy_16(typingctx: Any, to: Any, at: Any, source: Any, start: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        to = _pointer(context, builder, signature.args[0], *args[:2])
        source = _pointer(context, builder, signature.args[2], *args[2:])
        vector = ir.VectorType(ir.IntType(8), 16).as_pointer()
        some = builder.load(builder.bitcast(source, vector), align=1)
        builder.store(some, builder.bitcast(to, vector), align=1)
        return context.get_dummy_value()

    return types.void(to, types.int64, source, types.int64), codegen


@intrinsic
def _first_bit(typingctx: Any, word: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), codegen


@intrinsic
def _count_bits(typingctx: Any, word: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.int64(types.uint64), codegen


@intrinsic
def _multiply(typingctx: Any, first: Any, second: Any) -> Any:
    """Return the exclusive or of both halves of a product of 128 bits."""

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
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        function = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        pointer = builder.bitcast(_pointer(context, builder, signature.args[0], *args), byte)
        builder.call(function, [pointer, word(0), word(3), word(1)])
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen


@intrinsic
def _copy(typingctx: Any, to: Any, at: Any, source: Any, start: Any, size: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        to = _pointer(context, builder, signature.args[0], *args[:2])
        source = _pointer(context, builder, signature.args[2], *args[2:4])
        cgutils.raw_memcpy(builder, to, source, args[4], 1)
        return context.get_dummy_value()

    integer = types.int64
    return types.void(to, integer, source, integer, integer), codegen


if config.DISABLE_JIT:

    def _load_word(text: Any, at: Any) -> Any:
        return text[at : at + 8].view(np.uint64)[0]

    def _load_half(text: Any, at: Any) -> Any:
        return text[at : at + 4].view(np.uint32)[0]

    def _equal_bits(text: Any, at: Any, byte: Any) -> Any:
        return np.packbits(text[at : at + 64] == byte, bitorder="little").view(np.uint64)[0]

    def _high_bits(text: Any, at: Any) -> Any:
        return np.packbits(text[at : at + 64] >= 0x80, bitorder="little").view(np.uint64)[0]

    def _copy_16(to: Any, at: Any, source: Any, start: Any) -> None:
        to[at : at + 16] = source[start : start + 16]

    def _first_bit(word: Any) -> Any:
        return np.int64((int(word) & -int(word)).bit_length() - 1)

    def _count_bits(word: Any) -> Any:
        return np.int64(int(word).bit_count())

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
def equal_bits(text: Any, at: Any, byte: Any) -> Any:
    """Return a bit for each of the 64 bytes of `text` (uint8) from `at` on: is it `byte`?"""
    text[at], text[at + 63]
    return _equal_bits(text, np.int64(at), np.int64(byte))


@inner
def high_bits(text: Any, at: Any) -> Any:
    """Return a bit for each of the 64 bytes of `text` (uint8) from `at` on: is it 0x80 or more?"""
    text[at], text[at + 63]
    return _high_bits(text, np.int64(at))


@inner
def first_bit(word: Any) -> Any:
    """Return the index of the lowest bit that is set in a uint64, which must not be 0."""
    return _first_bit(np.uint64(word))


@inner
def count_bits(word: Any) -> Any:
    """Return how many bits of a uint64 are set."""
    return _count_bits(np.uint64(word))


@inner
def fold(first: Any, second: Any) -> Any:
    """Return the exclusive or of both halves of the product of two uint64."""
    return _multiply(first, second)


@inner
def high_product(first: Any, second: Any) -> Any:
    """Return the upper half of the product of two uint64."""
    return _multiply_high(first, second)


@inner
def prefetch(array: Any, at: Any) -> None:
    """Have the processor bring `array[at]` into its cache; `at` may be out of bounds."""
    _prefetch(array, np.int64(at))


@inner
def copy(to: Any, at: Any, source: Any, start: Any, size: Any) -> None:
    """Copy `size` bytes from `source[start:]` to `to[at:]` (both uint8)."""
    if size > 0:
        to[at], to[at + size - 1], source[start], source[start + size - 1]
        _copy(to, np.int64(at), source, np.int64(start), np.int64(size))


@inner
def copy_short(to: Any, at: Any, source: Any, start: Any, size: Any) -> None:
    """Copy bytes as `copy` does, faster if they are 16 or fewer.

    Up to 16 more bytes of `to` change, if it has them.
    """
    if size <= 16 and at + 16 <= to.size and start + 16 <= source.size:
        to[at], to[at + 15], source[start], source[start + 15]
        _copy_16(to, np.int64(at), source, np.int64(start))
    else:
        copy(to, at, source, start, size)
