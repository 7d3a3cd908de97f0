"""The paper's numbers beside those of runs, and a figure for each of its sections."""

import json
import shutil

import pytest
from conftest import DATASET

from engine.cells import parse_student, student_cells
from evaluation import calculate_agreement, calculate_iou
from evaluation.calculate_agreement import REPORTED
from evaluation.options import AgreementOptions, OverlapOptions
from evaluation.paper_page import paper_page
from evaluation.paper_statements import statement_rows
from evaluation.paper_tables import HALVES, column
from evaluation.report import ReportOptions, publish
from evaluation.section_figures import drawn_sections


def row(cell, seeds=2, **values):
    return {"cell": cell, "seeds": seeds, **values}


def table_line(page, cell, nth=0):
    return [line for line in page.splitlines() if line.startswith(f"| {cell} |")][nth]


def test_the_papers_number_stands_beside_the_runs_in_one_unit():
    rows = [row("T1s_T2w_Ss", top1_best=81.0, top1_best_std=1.0, top1_last=80.0, ece=0.05)]
    page = paper_page(rows, [], "CIFAR100")
    # affinity, here; top-1, here with a half width of 12.706 / sqrt(2), last epoch; ECE, here
    assert table_line(page, "T1s_T2w_Ss") == (
        "| T1s_T2w_Ss | 0.908 | - | 82.0 | 81.0 ± 9.0 (1.0) | 80.0 | 0.054 | 0.050 |"
    )
    assert "The paper has no table" not in page


def test_the_order_of_the_cells_is_compared():
    """Those of the paper reversed: a rank correlation of -1, and without cells none."""
    printed = column("CIFAR100_imb100", "top1")
    rows = [row(cell, seeds=1, top1_best=-value) for cell, value in printed.items()]
    page = paper_page(rows, [], "CIFAR100_imb100")
    assert "top-1: rank correlation -1.00, n = 8 cells" in page
    assert "affinity: not enough cells" in page


def test_halves_stand_beside_the_variant_and_other_sets_beside_cifar():
    halved = column("CIFAR100", "gap", HALVES)["T1w_T2w_Sw"]
    page = paper_page([row("T1w_T2w_Sw+halves", seeds=1, gap_points=12.3)], [], "photographs")
    assert "The paper has no table of photographs: its numbers of CIFAR100" in page
    assert page.count("None of its cells is trained here.") == 2  # of whole images
    line = table_line(page, "T1w_T2w_Sw")
    assert line.startswith(f"| T1w_T2w_Sw | {100 * halved:.1f} | 12.3 | ")


def test_what_the_paper_does_not_give_is_said():
    page = paper_page([], [], "ImageNet")
    assert page.count("The paper does not give these of ImageNet.") == 2
    assert "| T1s_T2w_Ss | 69.2 | - | - |" in page  # of its table G.5
    assert "| DMAE | 82.0 | - | - |" in page


def test_what_the_papers_own_numbers_say():
    """By the facts about its tables: halves overlap less by .26, .16, .11, are followed less by
    .21, .27, .31, and their gap is larger by 1.3 to 1.9 points; G.5 by subtraction."""
    rows = {own["figure"]: own for own in statement_rows()}
    sets = ("CIFAR100", "CIFAR100_imb100", "ImageNet_LT")

    def of(figure):
        return [round(rows[figure][name], 2) for name in sets if name in rows[figure]]

    assert of("IoU, whole minus halves") == [0.26, 0.16, 0.11]
    assert of("fidelity, whole minus halves") == [0.21, 0.27, 0.31]
    assert all(1.2 < gap < 2 for gap in of("gap, points, halves minus whole"))
    assert of("top-1, points: T1s_T2w_Ss minus T1w_Ss") == [0.62, 0.68]
    assert of("top-1, points: T1s_T2w_T3w_Ss minus T1s_T2w_Ss") == [0.09, 0.82]
    # CIFAR-100, ECE: (.0776 - .0124 + .1076 - .0537 + .0994 - .0568 + .1397 - .0745) / 4
    assert rows["ECE, weak minus strong students"]["CIFAR100"] == pytest.approx(0.056725)
    page = paper_page([], [], "CIFAR100")
    assert "| IoU, whole minus halves | +0.258 | +0.164 | - | +0.114 | 3 of 3 above 0 |" in page


def test_the_claims_figures_of_the_papers_tables_stand_there_once():
    """6.1: strong students better by 1.11, 3.32, .18, 1.22 points; weak minus strong teachers'
    IoU .026, .040 and -.024. The paper says no sign of a difference of views: it is left out."""
    lines = paper_page([], [], "CIFAR100").splitlines()
    said = "| 6.1 overlap | a strong view lowers the overlap of the teachers' attention | IoU: weak"
    (overlap,) = [line for line in lines if line.startswith(said)]
    assert overlap.endswith("| +0.026 | +0.040 | - | -0.024 | 2 of 3 above 0 |")
    (strong,) = [line for line in lines if line.startswith("| 6.1 strong students | ")]
    assert "| +1.113 | +3.320 | +0.178 | +1.21" in strong  # 1.2175
    assert strong.endswith(" | 4 of 4 above 0 |")
    assert not any("| 6.1 overlap, strong minus weak students |" in line for line in lines)
    figures = [line.split(" | ")[:3] for line in lines if line.endswith(" above 0 |")]
    assert sum(own[2] == "rank correlation of affinity and IoU" for own in figures) == 3
    assert len(figures) == len({tuple(own) for own in figures}) > 30


def test_every_section_that_the_rows_allow_has_its_figure():
    names = {"top1_last": 50.0, "gap_points": 3.0, "iou_teachers": 0.4, "affinity": 0.9,
             "fidelity_ensemble": 70.0, "entropy_nats": 1.0, "ece": 0.1,
             "fidelity_own_view_test": 60.0,
             "mutual_information_nats_own_view_training": 1.1}  # fmt: skip
    spread = {f"{name}_std": value / 50 for name, value in names.items()}
    cells = [str(cell) for k in range(4) for cell in student_cells(k)]
    rows = [row(cell, **names, **spread) for cell in cells]
    plain = [own.name for own in drawn_sections(rows)]
    assert plain == ["section_6_1", "section_6_2", "section_F", "section_H"]
    z_scores = [row(f"{cell}+standardised", **names) for cell in cells if cell.count("T") == 2]
    drawn = {own.name: own.figure for own in drawn_sections(rows + z_scores)}
    assert list(drawn) == ["section_6_1", "section_6_2", "section_6_3", "section_F", "section_H"]
    bars = drawn["section_6_3"].axes[0].patches
    assert [bar.get_height() for bar in bars] == [3.0] * 16
    points = drawn["section_6_1"].axes[0].containers
    assert len(points) == 8  # the students of two teachers
    assert drawn_sections([row("Sw", top1_last=1.0)]) == []


@pytest.fixture(scope="module")
def report(taught, tmp_path_factory):
    """Of real runs, one student measured as the report measures all."""
    folder = tmp_path_factory.mktemp("paper") / "runs"
    shutil.copytree(taught.folder, folder, ignore=shutil.ignore_patterns("outputs"))
    about = {"dataset": DATASET, "output_dir": str(folder), "device": "cpu"}
    for question in ("strong", "train_strong"):
        asked = REPORTED[question]
        calculate_agreement.measure(AgreementOptions(**about, cells=("T1s_T2s_Ss",), **asked))
    calculate_iou.measure(OverlapOptions(**about, group="T_T", name="iou_T_T"))
    publish(ReportOptions(dataset=DATASET, output_dir=str(folder)))
    return folder / DATASET


def test_the_page_of_real_runs_repeats_the_results(report):
    page = (report / "report" / "paper.md").read_text()
    results = {own["cell"]: own for own in json.loads((report / "results.json").read_text())}
    own = results["T1s_T2s_Ss"]
    assert parse_student("T1s_T2s_Ss").view == "strong"
    line = table_line(page, "T1s_T2s_Ss", nth=1).split(" | ")
    training = own["fidelity_own_view_training"]
    assert line[6] == f"{training:.1f}"
    assert line[7] == f"{own['fidelity_own_view_test']:.1f} |"
    assert own["fidelity_own_view_test"] == own["fidelity_ensemble_strong"]
    for section in ("section_6_1", "section_6_2"):
        assert f"({section}.png)" in page
        assert (report / "report" / f"{section}.pdf").is_file()
