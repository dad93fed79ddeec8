"""The published networks and the small ones of this project, one row each."""

from armoe_jax.models.config import ARMoEConfig

VARIANTS: dict[str, ARMoEConfig] = {
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
}
