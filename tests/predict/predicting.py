"""What the tests of `tf-frcnn predict` share: a model that finds the same in all, and inputs."""

import json
import weakref
from fractions import Fraction

import numpy as np
from PIL import Image

from tf_frcnn import cli
from tf_frcnn.prediction import Prediction

ORIENTATION = 0x0112  # the EXIF tag
CODECS = {".avi": "mpeg4", ".webm": "libvpx"}  # others hold any


class CornerDetector:
    """Stands for a model: a dog of score R / 255, and a cat of 0.4, each with its own box.

    Attributes:
        batches: (height, width) of the images of each call.
        most_alive: the largest number of images that were in memory when it was called.
    """

    class_names = ("cat", "dog")
    category_ids = (1, 2)

    def __init__(self):
        self.batches = []
        self.most_alive = 0
        self._seen = []

    def __call__(self, images, batch_size):
        assert len(images) <= batch_size  # so that one call here is one of the network
        self.batches.append([image.shape[:2] for image in images])
        self._seen += [weakref.ref(image) for image in images]
        self.most_alive = max(self.most_alive, sum(seen() is not None for seen in self._seen))
        boxes = np.array([[1, 2, 11, 32], [4.5, 0, 6, 8]], np.float32)
        return [
            Prediction(
                boxes,
                np.array([image[0, 0, 0] / 255, 0.4], np.float32),
                np.array([2, 1], np.int32),
                ("dog", "cat"),
            )
            for image in images
        ]


def predict(*arguments):
    """Run `tf-frcnn predict MODEL ARGUMENTS` in this process -> exit status."""
    return cli.main(["predict", "model", *map(str, arguments)])


def read_results(output):
    return json.loads((output / "detections.json").read_text())


def files_below(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))


def write_image(path, red=204, size=(40, 60), orientation=None):
    """Write an image, (height, width) as stored, of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if orientation is not None:
        exif[ORIENTATION] = orientation
    height, width = size
    Image.new("RGB", (width, height), (red, 20, 90)).save(path, exif=exif)
    return path


def moving_image(number, size=(48, 64)):
    """Draw frame `number`: on grey a red corner that gets lighter, a blue block that moves right.

    The red of the pixel at the top left is 20 * (number + 1), at most 255.
    """
    image = np.full((*size, 3), 128, np.uint8)
    image[:16, :16] = (min(20 * (number + 1), 255), 20, 20)
    image[20:32, 2 * number : 2 * number + 16] = (20, 40, 220)
    return image


def write_video(path, num_frames=6, size=(48, 64), rate=25, codec=None, options=None):
    """Write a video of `moving_image`s, in the container that its extension names."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    name = "matroska" if path.suffix.lower() == ".mkv" else path.suffix[1:].lower()
    with av.open(str(path), "w", format=name, options=options or {}) as container:
        stream = container.add_stream(
            codec or CODECS.get(path.suffix.lower(), "libx264"), rate=Fraction(rate)
        )
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 2_000_000
        container.start_encoding()
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(moving_image(number, size), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_png_video(path, images, rate=25):
    """Write a MOV whose frames are PNG files: lossless, of any size, easily broken."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="mov") as container:
        stream = container.add_stream("png", rate=Fraction(rate))
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "rgb24"
        for number, image in enumerate(images):
            file = path.with_suffix(".png")
            Image.fromarray(image).save(file)
            packet = av.Packet(file.read_bytes())
            file.unlink()
            packet.stream = stream
            packet.time_base = 1 / Fraction(rate)
            packet.pts = packet.dts = number
            container.mux(packet)
    return path


def read_video(path):
    """Decode a video -> (frames [H, W, 3] uint8 RGB, its stream's properties)."""
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        context = stream.codec_context
        return frames, (context.name, context.pix_fmt, stream.average_rate)
