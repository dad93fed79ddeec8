"""The published networks and the small ones of this project, one row each."""

from armoe_jax.models.build import AnyConfig
from armoe_jax.models.config import ARMoEConfig
from armoe_jax.models.windowed_config import ARMoEWConfig

VARIANTS: dict[str, AnyConfig] = {
    # VVC artifact removal as published: one checkpoint a QP, 25,607,479 parameters.
    "car": ARMoEConfig(
        embed_dim=180,
        depth=(6,) * 6,
        num_heads=(6,) * 6,
        mlp_ratio=2.0,
        upscale=1,
        upsampler="icar",
        split_size=(8, 32),
    ),
    # Light super-resolution x2 as published: 845,028 parameters.
    "light_sr_x2": ARMoEConfig(
        embed_dim=48,
        depth=(12,),
        num_heads=(6,),
        mlp_ratio=2.0,
        upscale=2,
        upsampler="lightSR",
        split_size=(8, 32),
    ),
    # For CPUs: full resolution.
    "armoe_w_small": ARMoEWConfig(
        embed_dim=32, depth=2, pairs=3, expert_dim=32, experts=("dct",), share_mixings=True, grid=8
    ),
    # For accelerators: half resolution.
    "armoe_w_base": ARMoEWConfig(
        embed_dim=64,
        depth=8,
        pairs=1,
        expert_dim=64,
        stride=2,
        experts=("dct", "haar"),
        share_mixings=True,
        grid=16,
    ),
}
