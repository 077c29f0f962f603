"""What a detector found in one image. No TensorFlow here, so that clients need none."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import supervision


@dataclass(frozen=True, eq=False)
class Prediction:
    """What was found in one image, best first.

    Attributes:
        boxes: [D, 4] float32 yxyx boxes in pixels of the image, half-open.
        scores: [D] float32 from 0 to 1.
        class_ids: [D] int32 from 1.
        class_names: [D] the names that go with `class_ids`.
    """

    boxes: np.ndarray
    scores: np.ndarray
    class_ids: np.ndarray
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.scores)

    def select(self, indices: Sequence[int] | np.ndarray) -> "Prediction":
        """Return some of the detections, in the order of their indices."""
        kept = np.asarray(indices, np.int64)
        return Prediction(
            self.boxes[kept],
            self.scores[kept],
            self.class_ids[kept],
            tuple(self.class_names[index] for index in kept),
        )

    def to_supervision(self) -> "supervision.Detections":
        """Convert to the `Detections` of the package supervision.

        Returns:
            `xyxy` [D, 4] float32 pixels, `confidence` [D], `class_id` [D] from 0, as supervision
            counts (an index into `Detector.class_names`), and `data["class_name"]` [D].

        Raises:
            ImportError: supervision is not installed.
        """
        try:
            from supervision import Detections
        except ImportError as error:
            raise ImportError(
                f"to_supervision() needs the package supervision, which cannot be imported "
                f"({error}). Install it: python -m pip install supervision"
            ) from error
        return Detections(
            xyxy=self.boxes[:, [1, 0, 3, 2]],
            confidence=self.scores,
            class_id=self.class_ids - 1,
            data={"class_name": np.array(self.class_names, dtype=np.str_)},
        )


DetectImages = Callable[[Sequence[np.ndarray]], list[Prediction]]
"""Detects in [H, W, 3] uint8 RGB images, and gives as many predictions."""
