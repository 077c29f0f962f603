"""The VGG16 trunk: thirteen 3 x 3 convolutions, conv1_1 to conv5_3, stride 16.

Simonyan and Zisserman, 2015, table 1, column D. Layers carry the names of keras.applications
(`block1_conv1` ... `block5_conv3`), whose weights they take.
"""

import keras
import tensorflow as tf

from tf_frcnn.layers.convolution import Conv3x3

STRIDE = 16
# Convolutions and channels of each block; a 2 x 2 max pooling stands between blocks.
BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))


def build_vgg16(
    width: float = 1.0, batch_normalization: bool = False, dtype: str = "float32"
) -> keras.Model:
    """Build the trunk.

    Args:
        width: what the channels of all layers are multiplied by; 1 is VGG16.
        batch_normalization: normalise after every convolution, which then has no bias.
        dtype: Keras dtype policy of all layers; the features have its compute type.

    Returns:
        A model from [B, H, W, 3] float32 mean-free BGR pictures, H and W multiples of 16, to
        features [B, H / 16, W / 16, 512 * width].
    """
    images = keras.Input((None, None, 3), name="images")
    features = images
    # With several replicas, over the pictures of all of them, as a single device does.
    synchronized = tf.distribute.get_strategy().num_replicas_in_sync > 1
    for block, (num_convs, channels) in enumerate(BLOCKS, start=1):
        if block > 1:
            features = keras.layers.MaxPooling2D(2, name=f"block{block - 1}_pool", dtype=dtype)(
                features
            )
        for conv in range(1, num_convs + 1):
            name = f"block{block}_conv{conv}"
            features = Conv3x3(
                int(channels * width),
                activation=None if batch_normalization else "relu",
                use_bias=not batch_normalization,
                kernel_initializer="he_normal",
                name=name,
                dtype=dtype,
            )(features)
            if batch_normalization:
                features = keras.layers.BatchNormalization(
                    momentum=0.95,
                    epsilon=1e-3,
                    synchronized=synchronized,
                    name=f"{name}_bn",
                    dtype=dtype,
                )(features)
                features = keras.layers.ReLU(name=f"{name}_relu", dtype=dtype)(features)
    return keras.Model(images, features, name="backbone")
