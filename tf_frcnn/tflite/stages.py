"""The parts of the network that the TFLite file and its report are divided into."""

from tf_frcnn.model import STAGES


def stage_index(name: str) -> int:
    """Find the stage that a tensor belongs to by its name.

    Args:
        name: of a TFLite tensor: the scopes of the operator that gives it, with a slash after each;
            of operators that were fused several such names, with semicolons between them.

    Returns:
        Index into `STAGES`; -1 where the name tells nothing.
    """
    scope = name.split(";")[0].split("/")[0]
    return STAGES.index(scope) if scope in STAGES else -1
