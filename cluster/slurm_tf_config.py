"""Print the TF_CONFIG of this task of a Slurm job step: one task a node, with all of its GPUs.

    python cluster/slurm_tf_config.py [PORT]

The addresses are those of TensorFlow's `SlurmClusterResolver`. It sorts the names of the nodes as
text, where n10 comes before n9, and counts a task by its rank, for which Slurm has them by number:
here a task is the one whose address is that of its node.
"""

import json
import os
import sys

import tensorflow as tf

PORT = 8888


def tf_config(port: int = PORT) -> str:
    """Make the JSON text of TF_CONFIG from Slurm's environment variables.

    Args:
        port: on which every worker listens.

    Raises:
        RuntimeError: a variable is missing, or there is more than one task a node.
        KeyError: SLURMD_NODENAME is missing.
        ValueError: this node is not one of the step's.
    """
    resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
        port_base=port,
        # One of one: that Slurm gives a task the GPUs of its node is enough.
        gpus_per_node=1,
        gpus_per_task=1,
        auto_set_gpu=False,
    )
    addresses = resolver.cluster_spec().job_tasks("worker")
    index = addresses.index(f"{os.environ['SLURMD_NODENAME']}:{port}")
    return json.dumps(
        {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
    )


def main() -> None:
    """Print it."""
    try:
        print(tf_config(int(sys.argv[1]) if len(sys.argv) > 1 else PORT))
    except (RuntimeError, KeyError, ValueError) as error:
        print(
            f"error: no TF_CONFIG can be made of Slurm's variables ({error}). Expected to run in a "
            "job step with one task a node, as cluster/train.sbatch starts it.",
            file=sys.stderr,
        )
        sys.exit(2)


if __name__ == "__main__":
    main()
