"""Models from elsewhere, measured as the grid's are, by files of their outputs, or on a folder of
images (docs/measure.md):

python -m evaluation.measure a.npz b.npz c.npz [--labels y.npy] [--student c]
python -m evaluation.measure --models a.pt:resnet50 b.pt:vgg16 --images DIR
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # imports start at this checkout, installed or not
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from common.errors import UserError, run_program
from engine.flags import parse
from evaluation.model_options import ModelOptions

ABOUT = (
    "Calibration of models from elsewhere, agreement and overlap of each pair (docs/measure.md)."
)


def main(argv: Sequence[str] | None = None) -> None:
    """Print and write the tables, and draw the reliability diagrams."""
    measure(parse(ModelOptions, argv, ABOUT))


def measure(options: ModelOptions) -> None:
    """The same, for a caller that has the options."""
    if not options.files and not options.models:
        raise UserError("name files of outputs, such as a.npz b.npz (--help lists the flags)")
    if bool(options.models) != bool(options.images):
        raise UserError("--models are asked about --images: give both")
    # torch only when there is work to do
    from evaluation.model_files import named_files, read_labels, read_model
    from evaluation.model_tables import publish_models
    from evaluation.same_images import same_images

    named = named_files(options.files)
    models = [read_model(path, name, options.npy) for name, path in named.items()]
    labels = read_labels(Path(options.labels)) if options.labels else None
    if options.models:
        from evaluation.nets import ask_nets

        models += ask_nets(options)
    models, notes = same_images(models, labels, allow_subset=options.allow_subset == "yes")
    publish_models(models, options, *filter(None, [model.said for model in models]), *notes)


if __name__ == "__main__":
    sys.exit(run_program(main, if_interrupted="nothing was written"))
