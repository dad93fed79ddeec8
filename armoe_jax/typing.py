"""Array aliases, and the letters that shapes are written with.

Axis legend, the same in every annotation, comment and einsum of the project:

    b  images in a batch            h, w  rows and columns of pixels
    c  channels                     n     tokens of one attention window
    m  attention heads (one branch) d     width of one head
    e  experts                      k     capacity: slots of one expert
    l  layers (blocks, over all groups, in order)

Images are `b h w c`, float32, RGB order, nominal range [0, 1] outside the network.
"""

from jaxtyping import Array, Bool, Float, Int

__all__ = ["Array", "Bool", "Float", "Image", "Int", "Noise"]

Image = Float[Array, "b h w c"]
Noise = Float[Array, "l b e"]
