# SPDX-License-Identifier: Apache-2.0
"""Records what the PyPI package `gguf` makes of random blocks of every ggml type that is read here, scales of both signs and
subnormal ones among them. `python3 tests/python/compare_ggml.py` writes tests/data/ggml_blocks.bin: for each type
u32 type, u32 blocks, u32 values, u32 bytes of blocks, then the blocks, then the values as f32. Of bf16 and f16 every finite
kind of number takes part. Writes tests/data/small.gguf too: a llama of one layer, dim 32, as that package writes files."""
import pathlib
import struct

import gguf
import numpy

TYPES = ("F32", "F16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K", "BF16")
# Where the f16 scales of a block lie.
SCALES = {"Q4_0": (0,), "Q4_1": (0, 2), "Q5_0": (0,), "Q5_1": (0, 2), "Q8_0": (0,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,)}
SPECIAL = (0x0000, 0x8000, 0x0001, 0x8001, 0x03ff, 0x83ff, 0x0400, 0x2c66, 0xac66, 0x7bff, 0xfbff)


def blocks_of(name, rng):
    kind = gguf.GGMLQuantizationType[name]
    size, width = gguf.GGML_QUANT_SIZES[kind]
    if name == "F32":
        return rng.standard_normal(64).astype("<f4").view(numpy.uint8).reshape(1, -1)
    if size == 1:
        exponent = 0x7c00 if name == "F16" else 0x7f80
        bits = rng.integers(0, 65536, 512, dtype=numpy.uint16)
        return numpy.where(bits & exponent == exponent, bits & 0x83ff, bits).astype("<u2").view(numpy.uint8).reshape(1, -1)
    count = 32 if size == 32 else 4
    out = rng.integers(0, 256, (count, width), dtype=numpy.uint8)
    for i, block in enumerate(out):
        for part, at in enumerate(SCALES[name]):
            if i < len(SPECIAL) and size == 32 or i == 3:
                half = SPECIAL[(i * 3 + part) % len(SPECIAL)] if size == 32 else SPECIAL[5 - part]
            else:
                half = int(numpy.float16(rng.standard_normal() * 0.05).view(numpy.uint16))
            block[at:at + 2] = (half & 255, half >> 8)
    return out


def main():
    rng = numpy.random.default_rng(5)
    path = pathlib.Path(__file__).resolve().parent.parent / "data" / "ggml_blocks.bin"
    with open(path, "wb") as to:
        for name in TYPES:
            blocks = blocks_of(name, rng)
            kind = gguf.GGMLQuantizationType[name]
            values = gguf.dequantize(blocks if name != "F32" else blocks.view("<f4"), kind)
            values = numpy.ascontiguousarray(values, dtype="<f4").reshape(-1)
            size = gguf.GGML_QUANT_SIZES[kind][0]
            to.write(struct.pack("<IIII", int(kind), len(values) // size, len(values), blocks.size))
            to.write(blocks.tobytes() + values.tobytes())
    print(path, path.stat().st_size, "bytes")
    write_model(path.parent / "small.gguf", rng)


def write_model(path, rng):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(32)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_token_list(["<unk>", "<s>", "</s>", "a", "b", "ab"])
    writer.add_token_scores([0.0, 0.0, 0.0, -1.0, -2.0, -3.0])
    writer.add_token_types([2, 3, 3, 1, 1, 1])
    writer.add_add_bos_token(True)
    shapes = {"token_embd": (6, "F16"), "blk.0.attn_q": (32, "Q8_0"), "blk.0.attn_k": (16, "Q4_0"), "blk.0.attn_v": (16, "Q5_1"),
              "blk.0.attn_output": (32, "Q4_1"), "blk.0.ffn_gate": (32, "Q5_0"), "blk.0.ffn_up": (32, "BF16"),
              "blk.0.ffn_down": (32, "Q4_0")}
    for name, (rows, type_name) in shapes.items():
        kind = gguf.GGMLQuantizationType[type_name]
        data = gguf.quantize(rng.standard_normal((rows, 32)).astype("<f4"), kind)
        writer.add_tensor(name + ".weight", data, raw_dtype=kind)
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(name + ".weight", rng.standard_normal(32).astype("<f4"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(path, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
