"""Random changes of an image's colours, in the ranges of SSD (Liu et al. 2016).

All of them together are one 3 x 3 matrix and an offset: a single pass over the pixels, after which
grey is still grey.
"""

import math

import numpy as np
import tensorflow as tf

# Largest changes at strength 1: of 255, of a factor of 1, and in degrees.
MAX_BRIGHTNESS = 32.0
MAX_CONTRAST = 0.5
MAX_SATURATION = 0.5
MAX_HUE = 18.0

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601: how bright red, green and blue are
_RED, _, _BLUE = np.eye(3)
# A pixel (R, G, B) times this is (Y, U, V): luma, and the two axes of the plane of colours.
_RGB_TO_YUV = np.stack([_LUMA, 0.492 * (_BLUE - _LUMA), 0.877 * (_RED - _LUMA)], axis=1)
_YUV_TO_RGB = np.linalg.inv(_RGB_TO_YUV)


def jitter_colours(image: tf.Tensor, strength: float, seed: tf.Tensor) -> tf.Tensor:
    """Change brightness, contrast, saturation and hue, each drawn evenly from its range.

    Args:
        image: [H, W, 3] float32 RGB 0-255.
        strength: from 0, no change, to 1, the whole ranges: brightness +-32, contrast and
            saturation times 0.5 to 1.5, hue +-18 degrees.
        seed: [2] int32 that the draws depend on.

    Returns:
        [H, W, 3] float32 RGB 0-255.
    """
    noise = strength * tf.random.stateless_uniform([4], seed, -1.0, 1.0)
    return adjust_colours(
        image,
        brightness=MAX_BRIGHTNESS * noise[0],
        contrast=1.0 + MAX_CONTRAST * noise[1],
        saturation=1.0 + MAX_SATURATION * noise[2],
        hue=MAX_HUE * noise[3],
    )


def adjust_colours(
    image: tf.Tensor,
    brightness: float | tf.Tensor = 0.0,
    contrast: float | tf.Tensor = 1.0,
    saturation: float | tf.Tensor = 1.0,
    hue: float | tf.Tensor = 0.0,
) -> tf.Tensor:
    """Change an image's colours by given amounts.

    Args:
        image: [H, W, 3] float32 RGB 0-255.
        brightness: scalar, added.
        contrast: scalar factor on the distance from the image's mean luma.
        saturation: scalar factor on the distance of a pixel's colour from grey of the same luma.
        hue: scalar, degrees by which colours turn about grey of the same luma, in the UV plane.

    Returns:
        [H, W, 3] float32 RGB, clipped to 0-255.
    """
    angle = tf.cast(hue, tf.float32) * (math.pi / 180.0)
    along, across = saturation * tf.cos(angle), saturation * tf.sin(angle)
    turn = tf.stack([[1.0, 0.0, 0.0], [0.0, along, across], [0.0, -across, along]])
    rgb_to_yuv, yuv_to_rgb = (tf.constant(m, tf.float32) for m in (_RGB_TO_YUV, _YUV_TO_RGB))
    matrix = contrast * (rgb_to_yuv @ turn @ yuv_to_rgb)
    mean_luma = tf.reduce_sum(tf.reduce_mean(image, axis=[0, 1]) * rgb_to_yuv[:, 0])
    offset = (1.0 - contrast) * mean_luma + brightness  # turning leaves the luma what it was
    return tf.clip_by_value(tf.tensordot(image, matrix, axes=1) + offset, 0.0, 255.0)
