"""The settings of a run: frozen, resolved once, then saved.

Each field below is a flag, a recipe key and a line of config.yaml; nothing else names settings.
Imports nothing heavy: `--help` and a finished run need no more.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from common.errors import UserError
from common.settings import NO_YES, Settings, flag_of, option
from common.workers import default_workers
from dataloader.mixing import NONE, MixSettings
from dataloader.views import STRONG_VIEWS, VIEW_FAMILIES
from engine.cells import Cell, StudentCell, TeacherCell, parse_student, parse_teacher
from engine.schedule import SCHEDULES
from engine.torchrun import processes_here
from losses.combination import COMBINATIONS, check_combination, check_mixed
from losses.registry import LossSettings, MapSettings, check_weights, losses_of
from models.parts import LEFT, PARTS, RIGHT, WHOLE

ON_BAD_IMAGE = ("error", "skip")
WHICH_CHECKPOINT = ("last", "best")
TRAINED, OWN_VIEW = "trained", "own"
TEACHERS_SEE = {  # the part of the images that each teacher is asked about, in turn
    TRAINED: (TRAINED,),
    OWN_VIEW: (TRAINED,),  # of the view that it was trained with
    "whole": (WHOLE,),
    "halves": (LEFT, RIGHT),
    "same-half": (LEFT,),
}
AMP = ("auto", "none", "bf16", "fp16")
OPTIMIZERS = ("sgd", "adamw")
FIRST_STUDENT_STREAM = 1000
FIRST_SEED = 1


def teacher_stream(number: int, seed: int) -> int:
    """What teacher `number` of the replicate `seed` draws its weights, order and views from: its
    number in the first one, else 63 bits of a hash. Sums such as number + 1000 * seed would be some
    student's stream."""
    if seed == FIRST_SEED:
        return number
    digest = hashlib.sha256(f"replicate {number} {seed}".encode()).digest()
    return int.from_bytes(digest[:8]) >> 1


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Settings):
    """What a teacher and a student have in common."""

    role: ClassVar[str]

    dataset: str = option(
        "CIFAR100",
        "data set: CIFAR100, CIFAR100_imb100, synthetic, ..., or a name of yours",
        names_folder=True,
    )
    cell: str = option("", "cell of the grid: T1w for a teacher, T1s_T2w_Ss for a student")
    seed: int = option(
        FIRST_SEED, "replicate: what initial weights, order and views are drawn from", at_least=0
    )
    recipe: str | None = option(None, "YAML file of settings", operational=True)
    variants: str | None = option(
        None, "YAML file: what the variants of names (T1w_Sw+name) set", operational=True
    )

    data_path: str = option("data", "folder with the data sets", operational=True)
    train_list: str | None = option(None, "list file (`path label` a line) of training images")
    test_list: str | None = option(None, "list file of images to test on instead of the data's")
    list_path: str | None = option(None, "folder of ImageNet-LT's lists, if not the data's")
    views: str | None = option(
        None,
        "for images of your own, DATA_PATH/train/<class>/* and val/<class>/*, under any --dataset",
        choices=tuple(VIEW_FAMILIES),
    )
    mean: tuple[float, ...] = option(
        (), "of red, green and blue in [0, 1]; your own images' are measured", at_least=0, at_most=1
    )
    std: tuple[float, ...] = option(
        (), "their standard deviations, along with --mean", above=0, at_most=1
    )
    max_train_images: int = option(
        0, "train on so many evenly spaced images, to try something; 0 for all", at_least=0
    )
    max_test_images: int = option(
        0, "test (and validate) on so many evenly spaced images; 0 for all", at_least=0
    )
    on_bad_image: str = option("error", "an image that cannot be read", choices=ON_BAD_IMAGE)
    holdout_fraction: float = option(
        0.0, "share of the training set that selects the best epoch", at_least=0, below=1
    )
    image_size: int = option(224, "height and width of the views, pixels", at_least=8, at_most=4096)
    strength: float = option(
        1.0, "of the strong view: 0 makes it the weak one", at_least=0, at_most=1
    )
    strong_view: str = option(
        "strong",
        "what the strong view is: the scripts', or with AutoAugment on ImageNet too",
        choices=STRONG_VIEWS,
    )

    arch: str = option("resnet18", "architecture, a name of models/registry.py")
    pretrained: str = option("none", "state_dict file to start from, or none")

    epochs: int = option(
        200,
        "passes over the training set; 0 adopts --pretrained as it is",
        at_least=0,
        at_most=100_000,
    )
    evaluate_every: int = option(
        1, "test after every so many epochs, and after the last in any case", at_least=1
    )
    batch_size: int = option(128, "images a step", at_least=2, at_most=1_000_000)
    drop_last: str = option("no", "leave out an epoch's last, smaller batch", choices=NO_YES)
    lr: float = option(0.1, "base learning rate", above=0, at_most=1000)
    optimizer: str = option("sgd", "what takes the steps", choices=OPTIMIZERS)
    momentum: float = option(
        0.9, "momentum of SGD, of the gradient's mean in AdamW", at_least=0, below=1
    )
    weight_decay: float = option(
        0.0,
        "weight decay: of all weights with SGD, with AdamW not of biases, norms and positions",
        at_least=0,
        at_most=1000,
    )
    clip_norm: float = option(
        0.0, "largest norm of a step's gradient, 0 for no limit", at_least=0, at_most=1e6
    )
    schedule: str = option("multistep", "decay of the learning rate", choices=SCHEDULES)
    milestones: tuple[int, ...] = option((), "epochs of the multi-step decay", at_least=1)
    decay: float = option(0.1, "factor at each milestone", above=0, at_most=1)
    warmup_epochs: int = option(8, "epochs of linear warm-up, 0 for none", at_least=0)
    cosine_period: int = option(
        0, "epochs in which the cosine falls, then it rises again; 0 for all", at_least=0
    )
    cosine_end: float = option(0.0, "learning rate that the cosine falls to", at_least=0)

    label_smoothing: float = option(
        0.0,
        "share of the labels' weight that all classes have alike",
        at_least=0,
        below=1,
        per_task=True,
    )

    amp: str = option(
        "auto",
        "mixed precision; auto: bf16 where the hardware has it, fp16 on older GPUs, else none",
        choices=AMP,
    )
    sync_batchnorm: str = option(
        "no", "BatchNorm over the batch of all processes, on GPUs", choices=NO_YES
    )
    deterministic: str = option(
        "no", "on a GPU: the same bits in every run, slower", choices=NO_YES, operational=True
    )
    together: int = option(
        32, "most runs in one process at once, side by side", at_least=1, operational=True
    )
    device: str = option("auto", "auto, cpu, cuda or cuda:N", operational=True)
    workers: int = option(
        default_workers(processes_here(os.environ)),
        "processes that compute views",
        at_least=0,
        at_most=256,
        operational=True,
    )
    keep_epochs: tuple[int, ...] = option(
        (), "epochs after which the weights are kept, as epoch<k>.pt", at_least=1, operational=True
    )
    validate_views: str = option(
        "no",
        "after each epoch, validate under the training view as well",
        choices=NO_YES,
        operational=True,
    )
    output_dir: str = option("runs", "folder that holds the runs", operational=True)
    resume: str = option(
        "auto", "auto: go on; never: start anew", choices=("auto", "never"), operational=True
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if {len(self.mean), len(self.std)} not in ({0}, {3}):
            raise UserError("--mean and --std go together, three numbers each: red, green, blue")
        if self.epochs == 0 and self.pretrained == "none":
            raise UserError("--epochs 0 adopts trained weights: name them with --pretrained")
        if late := [k for k in self.keep_epochs if k > self.epochs]:
            raise UserError(
                f"--keep-epochs {late[0]} is after the last of {self.epochs} epochs: name others, "
                "or none"
            )
        if self.strength != 1 and self.cell and self.parsed_cell.view != "strong":
            raise UserError(
                f"--strength {self.strength} is of the strong view, {self.cell} trains on the "
                f"{self.parsed_cell.view} one: leave it out"
            )

    def evaluates(self, epoch: int) -> bool:
        """Whether the model is tested after `epoch` (from 1)."""
        return epoch % self.evaluate_every == 0 or epoch == self.epochs

    @property
    def parsed_cell(self) -> Cell:
        """The cell's parts; UserError when the name is none of the grid's."""
        raise TypeError("a role knows how to read its cells")


@dataclass(frozen=True, kw_only=True)
class TeacherConfig(MapSettings, MixSettings, TrainConfig):
    """Settings of `train_teacher.py`."""

    role = "teacher"
    read_cell = staticmethod(parse_teacher)
    teacher_checkpoint: ClassVar[str] = "last"  # of the teacher beside which it is trained
    teacher_batchnorm: ClassVar[str] = "own"
    teachers_see: ClassVar[str] = TRAINED

    sees: str = option(
        WHOLE, "part of each view that it looks at, now and later", choices=PARTS, per_task=True
    )
    beside: str | None = option(
        None, "teacher, frozen, whose attention maps the own ones are held to", per_task=True
    )
    map_placebo: str = option(
        "no",
        "take its map of another image of the class, under the same draws",
        choices=NO_YES,
        per_task=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.beside is None and self.map_placebo == "yes":
            raise UserError("--map-placebo is of the maps of another teacher: name it by --beside")
        if self.beside is not None and self.beside == self.cell:
            raise UserError(f"--beside {self.beside} is the teacher itself: name another")
        if self.beside is not None and self.mix != NONE:
            raise UserError("--beside holds the map of an image's label, --mix makes images of two")

    @property
    def teacher_seed(self) -> int:
        """Of the teacher beside which it is trained: its own."""
        return self.seed

    @property
    def heard(self) -> tuple[TeacherCell, ...]:
        """The teacher beside which it is trained, if any."""
        return () if self.beside is None else (parse_teacher(self.beside),)

    @property
    def shuffled_share(self) -> float:
        """Of the images, for which another image of the class is shown to the teacher."""
        return float(self.map_placebo == "yes")

    @property
    def parsed_cell(self) -> TeacherCell:
        """The cell's parts."""
        return self.read_cell(self.cell)

    @property
    def stream(self) -> int:
        """What its weights, order and views are drawn from: T1w and T1s of a seed differ in nothing
        but their view."""
        return teacher_stream(self.parsed_cell.number, self.seed)


@dataclass(frozen=True, kw_only=True)
class StudentConfig(LossSettings, MixSettings, TrainConfig):
    """Settings of `train_student.py`."""

    role = "student"
    read_cell = staticmethod(parse_student)
    sees: ClassVar[str] = WHOLE

    teacher_seed: int = option(
        FIRST_SEED, "replicate of the teachers, if not the student's own", at_least=0
    )
    ce_weight: float = option(
        0.6,
        "weight of the labels' cross-entropy; kl has the rest",
        at_least=0,
        at_most=1,
        per_task=True,
    )
    kd_weight: tuple[float, ...] = option(
        (),
        "weight of each loss of --loss; else the published one, of kl 1 - ce weight",
        at_least=0,
        per_task=True,
    )
    combine: str = option(
        "losses",
        "several teachers: the mean of the losses to each, or the loss to the mean of their "
        "logits; each weighted by its confidence; one drawn for each image",
        choices=COMBINATIONS,
        per_task=True,
    )
    teacher_checkpoint: str = option(
        "last", "epoch of the teachers to learn from", choices=WHICH_CHECKPOINT
    )
    teacher_batchnorm: str = option(
        "own", "statistics of the teachers that teach; batch: the published code's",
        choices=("own", "batch"),
    )  # fmt: skip

    teachers_see: str = option(
        TRAINED,
        "images that teachers are asked about: of their own view, or halves: left, right, left ...",
        choices=tuple(TEACHERS_SEE),
        per_task=True,
    )
    shuffle_teachers: float = option(
        0.0,
        "share of the images for which the teachers answer about another one of the class",
        at_least=0,
        at_most=1,
        per_task=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_weights(self.loss, self.kd_weight)
        if self.teachers_see == OWN_VIEW and self.shuffle_teachers:
            raise UserError(
                "--teachers-see own is of the image itself: leave --shuffle-teachers out"
            )
        if self.combine != StudentConfig.combine:
            check_combination(self.combine, losses_of(self).items())
        if self.mix != NONE:
            check_mixed(self.combine, losses_of(self).items())

    @property
    def heard(self) -> tuple[TeacherCell, ...]:
        """The teachers that it learns from."""
        return self.parsed_cell.teachers

    @property
    def shuffled_share(self) -> float:
        """Of the images, for which another image of the class is shown to the teachers."""
        return self.shuffle_teachers if self.heard else 0.0

    @property
    def parsed_cell(self) -> StudentCell:
        """The cell's parts."""
        return self.read_cell(self.cell)

    @property
    def stream(self) -> int:
        """What its weights, order and views are drawn from: never a teacher's stream:
        started from its teacher's initial weights, a student would agree with it untaught."""
        return FIRST_STUDENT_STREAM + self.seed


Config = TeacherConfig | StudentConfig
OneRole = TypeVar("OneRole", bound=Config)  # all teachers or all students


def to_yaml(config: TrainConfig) -> str:
    """The resolved settings as YAML, in the order of the fields."""
    import yaml  # not needed for --help, which works where nothing is installed

    values = {f.name: _plain(getattr(config, f.name)) for f in dataclasses.fields(config)}
    return yaml.safe_dump(values, sort_keys=False)


def changed_settings(saved: Mapping[str, Any], config: TrainConfig) -> list[str]:
    """The settings that make `config` another experiment than the `saved` one, as sentences."""
    taught = bool(config.parsed_cell.teachers)
    fields = [
        f
        for f in dataclasses.fields(config)
        if not f.metadata["operational"] and (taught or f.name != "teacher_seed")
    ]
    # A run older than a setting was made with what is now that setting's default. "auto" asks
    # for nothing: the run goes on with what was chosen when it began.
    pairs = {f.name: (saved.get(f.name, f.default), getattr(config, f.name)) for f in fields}
    return [
        f"{flag_of(name)} was {before}, now {now}"
        for name, (before, now) in pairs.items()
        if _plain(before) != _plain(now) and now != "auto"
    ]


def _plain(value: Any) -> Any:
    """A value as YAML has it: lists for tuples."""
    return list(value) if isinstance(value, tuple) else value
