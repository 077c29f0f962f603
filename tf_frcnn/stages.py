"""The stages of a detector by name: benchmarks and TFLite files tell times and sizes by these."""

STAGES = (
    "preprocess",
    "trunk",
    "rpn",
    "proposals",
    "roi_pooling",
    "head",
    "detections",
)
"""In the order of the data's flow."""
