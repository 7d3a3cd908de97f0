"""Tables and figures for papers: LaTeX by hand, and PDF whose letters publishers take."""

from conftest import DATASET
from matplotlib.figure import Figure

from evaluation import calculate_ece, report
from evaluation.figures import rendered
from evaluation.latex import latex_table, write_estimates
from evaluation.results import publish
from evaluation.tables import Column

COLUMNS = (Column("top1", better="higher"), Column("top1_low"), Column("ece", better="lower"),
           Column("kl"), Column("gone"))  # fmt: skip


def test_a_table_by_hand():
    rows = [
        {"cell": "T1w_Sw", "top1": 0.8, "top1_low": 0.7, "top1_high": 0.9, "ece": 0.2, "kl": None},
        {"cell": "A&B", "top1": 0.85, "top1_low": 0.8, "top1_high": 0.9, "ece": 0.1, "kl": 0.5},
        {"cell": "bad", "top1": 0.5, "top1_low": 0.4, "top1_high": 0.6, "ece": 0.3, "kl": 1},
    ]
    _, *lines = latex_table(rows, ["cell"], COLUMNS).splitlines()
    assert lines == [
        r"\begin{tabular}{lrrr}",
        r"\toprule",
        r"cell & top1 & ece & kl \\",
        r"\midrule",
        r"T1w\_Sw & \textbf{0.800} {\small [0.700, 0.900]} & 0.200 & -- \\",
        r"A\&B & \textbf{0.850} {\small [0.800, 0.900]} & \textbf{0.100} & 0.500 \\",
        r"bad & 0.500 {\small [0.400, 0.600]} & 0.300 & 1 \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_estimates_stand_with_their_interval_and_p(tmp_path):
    row = {"claim": "6.2 gap", "verdict": "cannot tell", "estimate": 0.5, "low": -0.25, "high": 1.0}
    path = write_estimates(tmp_path / "claims", [row | {"p": 0.125}], ("claim", "verdict"))
    assert path.name == "claims.tex"
    assert r"claim & verdict & estimate & p \\" in path.read_text()
    line = r"6.2 gap & cannot tell & 0.500 {\small [-0.250, 1.000]} & 0.125 \\"
    assert line in path.read_text().splitlines()


def test_a_spread_over_seeds_stands_beside_its_mean():
    rows = [{"cell": "Sw", "top1": 71.5, "top1_std": 0.25}]
    assert r"Sw & 71.500 $\pm$ 0.250 \\" in latex_table(rows, ["cell"], [Column("top1")])


def test_ends_that_are_means_over_seeds_are_no_interval():
    """Of three seeds whose own intervals, over images, are narrow."""
    best = {"cell": "A", "iou": 0.51, "iou_std": 0.1, "iou_low": 0.5, "iou_high": 0.52}
    rows = [best, {**best, "cell": "B", "iou": 0.5}]
    text = latex_table(rows, ["cell"], [Column("iou", better="higher")])
    assert r"A & \textbf{0.510} $\pm$ 0.100 \\" in text and r"B & 0.500 $\pm$ 0.100 \\" in text


def test_each_question_has_a_table_of_its_own(tmp_path):
    row = {"cell": "Sw", "seed": 1, "top1": 0.5}
    for suffix in ("", "_train_strong"):
        publish(tmp_path / "agreement", [row], COLUMNS, {suffix: Figure()}, latex=True)
    names = {path.name for path in tmp_path.glob("*.tex")}
    assert names == {"agreement.tex", "agreement_train_strong.tex"}


def test_measurements_and_the_report_write_it_when_asked(taught, capsys):
    flags = ["--dataset", DATASET, "--output-dir", str(taught.folder)]
    folder = taught.folder / DATASET
    for name in ("of_latex", "results"):
        assert not (folder / f"{name}.tex").exists()
    calculate_ece.main([*flags, "--cells", "T", "--device", "cpu", "--name", "of_latex", "--latex"])
    table = (folder / "of_latex.tex").read_text()
    assert r"cell & seed & top1 & ece & mce" in table
    assert table.count(r"\textbf") >= 4  # of top-1, ECE, NLL and Brier one is the best
    report.main([*flags, "--latex"])
    assert r"T1w\_Sw & 1 & " in (folder / "results.tex").read_text()
    assert "results.tex" in capsys.readouterr().out


def test_letters_in_a_pdf_are_of_type_42():
    figure = Figure()
    figure.add_subplot().set_title("fidelity")
    content = rendered(figure, "pdf", dpi=50)
    assert b"/Type3" not in content
    assert b"/FontFile2" in content
