"""Counting by hand."""

import dataclasses

import jax
import networks
import numpy as np

from armoe_jax.benchmark import measure
from armoe_jax.benchmark.flops import useful_flops
from armoe_jax.models import VARIANTS, ARMoEConfig, build_model


def test_useful_flops_of_car():
    # Multiply-adds of a pixel; C = 180, hidden 360, windows of 8 * 32 = 256 tokens.
    # block: attention 3*180*180 (qkv) + 9*180 (local) + 2*256*180 + 180*180   = 223,380
    #        mixture   9*180 + 180*360 + 180*180                               =  98,820
    #        two feed-forwards 2 * (180*360 + 9*180 + 180*180)                 = 197,640
    #                                                                    sum   = 519,840
    # 36 blocks 18,714,240; 6 + 1 convolutions of 9*180*180 = 291,600: 2,041,200
    # ends: 9*3*180 = 4,860; 9*180*64 = 103,680; 9*64*3 = 1,728
    madds = 18_714_240 + 2_041_200 + 4_860 + 103_680 + 1_728
    assert useful_flops(VARIANTS["car"], 128, 128) == 2 * 128 * 128 * madds
    assert round(useful_flops(VARIANTS["car"], 128, 128) / 1e9) == 684


def test_useful_flops_of_light_super_resolution():
    # C = 48, hidden 96; a block: 3*48*48 + 9*48 + 2*256*48 + 48*48 = 34,224; mixture
    # 9*48 + 48*96 + 48*48 = 7,344; two feed-forwards 2 * 7,344; sum 56,256, times 12 = 675,072.
    # Two convolutions of 9*48*48 = 20,736; first 9*3*48 = 1,296; last 9*48*12 = 5,184.
    madds = 675_072 + 2 * 20_736 + 1_296 + 5_184
    assert useful_flops(VARIANTS["light_sr_x2"], 10, 20) == 2 * 10 * 20 * madds


def test_useful_flops_of_three_convolutions():
    one = useful_flops(dataclasses.replace(networks.RELEASED, resi_connection="1conv"), 1, 1)
    three = useful_flops(dataclasses.replace(networks.RELEASED, resi_connection="3conv"), 1, 1)
    # C = 32: 9*32*8 + 8*8 + 9*8*32 = 4,672 instead of 9*32*32 = 9,216; once in the group, once
    # after the body.
    assert one - three == 2 * 2 * (9_216 - 4_672)


def test_a_network_without_tail_does_nothing_useful():
    assert useful_flops(dataclasses.replace(networks.RELEASED, upsampler=""), 64, 64) == 0


def test_useful_flops_agree_with_xla():
    # Depth 1, no scan, no experts: XLA counts everything, ours what grows with the image but for
    # norms and activations, which are a small part at this width.
    config = ARMoEConfig(
        embed_dim=64, depth=(1,), num_heads=(2,), mlp_ratio=2.0, split_size=(8, 8), experts=()
    )
    model = build_model(config, scan=False)
    variables = measure.random_variables(config)
    lowered = jax.jit(model.apply).lower(variables, np.zeros((1, 32, 32, 3), np.float32))
    by_xla = lowered.cost_analysis()["flops"]
    assert 0.7 < useful_flops(config, 32, 32) / by_xla < 1.05
