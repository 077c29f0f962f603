"""tf_frcnn: Faster R-CNN for TensorFlow and Keras."""

import os

# TensorFlow reads these when it is imported. Its oneDNN kernels are off by default on processors
# without AVX-512, AMD's among them, where they are about four times as fast as the others.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
