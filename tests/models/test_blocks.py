"""Every stage of a block against the released network's."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from armoe_jax.convert import import_state_dict, rules_of
from armoe_jax.models import ARMoEConfig
from armoe_jax.models.attention import PositionBias, WindowAttention
from armoe_jax.models.blocks import Block, Control, Execution
from armoe_jax.models.ffn import SpatialGateFFN
from armoe_jax.models.moe import MixtureOfExperts
from armoe_jax.ops.transforms import heat_decay

pytestmark = pytest.mark.parity

FORCE = 1e6
"""Added to one logit, it decides the arg-max."""

CONFIG = ARMoEConfig(
    embed_dim=32, depth=(3, 5), num_heads=(4, 4), mlp_ratio=2.0, upscale=1, split_size=(4, 8)
)
SIZES = [(16, 16), (20, 28), (12, 10)]


def import_part(golden, config, block, part=""):
    """Returns the variables of a block, or of a part of one."""
    group, index = block
    prefix = f"layers.{group}.blocks.{index}."
    rules = [
        rule._replace(name=rule.name.removeprefix(prefix))
        for rule in rules_of(config)
        if rule.name.startswith(prefix + part)
    ]
    tensors = {
        name.removeprefix("sd/"): golden[name] for name in golden.names if name.startswith("sd/")
    }
    variables = jax.tree.map(jnp.asarray, import_state_dict(rules, tensors).variables)
    return {
        collection: groups[f"group_{group}"][f"block_{index}"]
        for collection, groups in variables.items()
    }


def select(variables, name):
    return {collection: of[name] for collection, of in variables.items() if name in of}


def as_image(tokens, height, width):
    return jnp.asarray(tokens.reshape(tokens.shape[0], height, width, -1))


def as_tokens(image):
    image = np.asarray(image)
    return image.reshape(image.shape[0], -1, image.shape[-1])


@pytest.fixture(scope="module")
def block_variables(components):
    return import_part(components, CONFIG, (0, 2))


@pytest.fixture(scope="module", params=[(12, 8), (7, 6)], ids=["12x8", "7x6"])
def moe_stages(request, components, block_variables):
    """Runs the layer with each expert and the gate's own choice; one program for all."""
    height, width = request.param
    name = f"moe_{height}x{width}"
    moe = MixtureOfExperts(CONFIG.experts)
    variables = select(block_variables, "moe")
    x = as_image(components[f"{name}/input"], height, width)

    @jax.jit
    def run(noise):
        (out, record), stages = moe.apply(
            variables, x, noise=noise, capture_intermediates=True, mutable=["intermediates"]
        )
        return out, record, stages["intermediates"]

    results = {"argmax": run(jnp.zeros((2, 4)))}
    for i in range(4):
        results[f"force{i}"] = run(jnp.zeros((2, 4)).at[:, i].set(FORCE))
    return name, results


def stage(results, *path):
    node = results["argmax"][2]
    for key in path:
        node = node[key]
    return np.asarray(node["__call__"][0])


class TestMixture:
    def test_projection(self, components, moe_stages):
        name, results = moe_stages
        components.check(f"{name}/dwconv_out", stage(results, "dwconv").transpose(0, 3, 1, 2))
        x, z = np.split(stage(results, "linear"), 2, axis=-1)
        components.check(f"{name}/x_half", x)
        components.check(f"{name}/z_half", z)
        components.check(f"{name}/policy_in", x.mean(axis=(1, 2)))

    def test_gate(self, components, moe_stages):
        name, results = moe_stages
        record = results["argmax"][1]
        components.check(f"{name}/logits", record.logits)
        np.testing.assert_array_equal(record.expert, components[f"{name}/expert"])

    def test_decay(self, components, moe_stages):
        name, results = moe_stages
        k = np.maximum(stage(results, "to_k")[0], 0)
        components.check(f"{name}/k", k)
        height, width = components[f"{name}/decay"].shape
        decay = heat_decay(jnp.asarray(k), height, width)
        components.check(f"{name}/decay_pow", decay.rows[:, None] * decay.columns[None])

    @pytest.mark.parametrize("routing", ["argmax", "force0", "force1", "force2", "force3"])
    def test_output(self, components, moe_stages, routing):
        name, results = moe_stages
        components.check(f"{name}/out_{routing}", as_tokens(results[routing][0]))


def test_spatial_gate_ffn(components, block_variables):
    ffn = SpatialGateFFN(CONFIG.hidden_dim)
    x = as_image(components["sgfn/input"], 12, 8)
    out = jax.jit(ffn.apply)(select(block_variables, "ffn1"), x)
    components.check("sgfn/output", as_tokens(out))


@pytest.mark.parametrize("size", SIZES)
def test_attention(components, block_variables, size):
    check_attention(components, select(block_variables, "attn"), 4, size)


def check_attention(golden, variables, num_heads, size):
    name = f"sa/{size[0]}x{size[1]}"
    attend = jax.jit(WindowAttention(num_heads, (4, 8)).apply)
    x = as_image(golden[f"{name}/input"], *size)
    for shifted, kind in enumerate(("unshifted", "shifted")):
        out = attend(variables, x, jnp.int32(shifted))
        golden.check(f"{name}/{kind}", as_tokens(out))


def test_block(components, block_variables):
    block = Block(CONFIG, 4, Execution())
    x = as_image(components["block/input"], 16, 16)

    @jax.jit
    def run(noise):
        control = Control(shifted=jnp.int32(1), expert=None, noise=noise)
        return block.apply(block_variables, x, control)

    components.check("block/out_argmax", as_tokens(run(jnp.zeros((2, 4)))[0]))
    for i in range(4):
        out, record = run(jnp.zeros((2, 4)).at[:, i].set(FORCE))
        np.testing.assert_array_equal(record.expert, [i, i])
        components.check(f"block/out_force{i}", as_tokens(out))


@pytest.fixture(scope="module")
def wide(load_golden, shared_dir):
    golden = load_golden(shared_dir / "golden" / "components_c96.npz")
    config = dataclasses.replace(CONFIG, embed_dim=96, depth=(1, 1), num_heads=(6, 6))
    return golden, select(import_part(golden, config, (1, 0), "attn."), "attn")


@pytest.mark.data
class TestWidthThree:
    """With 96 channels the position bias network is 3 wide, and so has an effect."""

    @pytest.mark.parametrize("branch", [0, 1])
    def test_position_bias(self, wide, branch):
        golden, variables = wide
        bias = PositionBias([(4, 8), (8, 4)][branch], 3, 3)
        out = jax.jit(bias.apply)(select(variables, f"pos_bias_{branch}"))
        golden.check(f"pos{branch}/bias", out)
        assert np.ptp(np.asarray(out)) > 0.1

    @pytest.mark.parametrize("size", SIZES)
    def test_attention(self, wide, size):
        golden, variables = wide
        check_attention(golden, variables, 6, size)
