"""The study: what is kept of replicates, how they are judged, and what is refused."""

import itertools
import math
import re
import shutil
import statistics

import numpy as np
import pytest
import torch

from common.errors import DamagedError, UserError
from common.files import read_json
from evaluation import study
from evaluation.described import OF_CELLS, _of_two_pairs
from evaluation.judging import Measured, judged_rows, ratio_sentence, slope_by_overlap
from evaluation.paper_page import own_rows
from evaluation.replicate import Ensemble, Replicate
from evaluation.study_drawing import endpoints_figure
from evaluation.study_figures import DOSED, FIGURES, PLACEBO, PRIMARY
from evaluation.study_files import ReplicateFile, read_replicate, write_replicate
from metrics.intervals import over_replicates
from metrics.ratio import image_variance

IMAGES = 200
CODE = {"training code": "c", "measuring code": "e", "settings": "s", "data": "d"}
FACTS = {"trained at": "abc", "measured at": "abd"} | CODE


def measured(seed, images=IMAGES, effect=1.0):
    """Each figure of a made up replicate: its mean, what the replicate adds, and the images."""
    own = np.random.default_rng([seed, 1])
    shared = np.random.default_rng(0)
    found = {}
    for figure in FIGURES:
        added = effect + own.normal(0, 0.1) + shared.normal(size=images)
        found[figure.name] = Measured.of(torch.from_numpy(added + own.normal(size=images)))
    return found


def replicate(seed, **facts):
    known = FACTS | {"replicate": str(seed), "images": str(IMAGES)} | facts
    return ReplicateFile(known, measured(seed), described(seed))


def described(seed):
    """Of a student without a teacher and the students of two pairs of teachers."""
    rows = [("top-1, %", "Sw", 40.0 + seed)]
    for pair in ("T1w_T2w", "T1w_T2w+r95"):
        rows += [("IoU above chance, label, equal area", pair, 0.1 * seed)]
        rows += [(figure, f"{pair}_{student}", 50.0 + seed)
                 for student in ("Sw", "Ss") for figure in OF_CELLS]  # fmt: skip
    return [dict(zip(("figure", "cell", "value"), row, strict=True)) for row in rows]


@pytest.fixture
def folder(tmp_path):
    """Files of three replicates."""
    for seed in (1, 2, 10):
        write_replicate(tmp_path, replicate(seed))
    return tmp_path


def over(seeds, **changes):
    by_seed = [measured(seed) | changes for seed in seeds]
    return {figure.name: [own[figure.name] for own in by_seed] for figure in FIGURES}


def rows_of(judged):
    return {row["figure"]: row for row in judged_rows(judged)}


# --- judging ------------------------------------------------------------------------------------


def test_a_row_is_the_mean_over_replicates_by_an_independent_formula():
    judged = over((1, 2, 3))
    row = rows_of(judged)["N, top-1"]
    added = np.stack([own.contributions.numpy() for own in judged["N, top-1"]])
    values = added.mean(axis=1)
    pairs = [np.cov(a, b)[0, 1] for a, b in itertools.combinations(added, 2)]
    error = math.sqrt(np.var(values, ddof=1) / 3 + np.mean(pairs) / IMAGES)
    assert row["estimate"] == pytest.approx(values.mean())
    expected = over_replicates(values.tolist(), np.mean(pairs) / IMAGES)
    assert expected.standard_error == pytest.approx(error)
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high))
    assert (row["replicates"], row["images"]) == (3, IMAGES)


def of_p(p, sign=1.0):
    """Two replicates with that two-sided p: t of one degree of freedom is a Cauchy variable."""
    t = 1 / math.tan(math.pi * p / 2)
    flat = [torch.full((IMAGES,), sign * (t + spread)) for spread in (1.0, -1.0)]
    return [Measured.of(own.double()) for own in flat]


def test_holm_is_over_the_three_endpoints_and_the_larger_p_of_one_counts():
    """p of .01 and .04 (endpoint 1), .02 (3) and .005 (5): 3 x .005, 2 x .02, 1 x .04."""
    ps = {"overlap, threshold 0.4": 0.01, "overlap, equal area": 0.04, "N, fidelity": 0.02,
          "b of agreement": 0.005}  # fmt: skip
    judged = over((1, 2)) | {name: of_p(p) for name, p in ps.items()}
    rows = rows_of(judged)
    assert {name for name, row in rows.items() if row["rank"] == PRIMARY} == set(ps)
    assert {name: rows[name]["p"] for name in ps} == pytest.approx(ps, rel=1e-4)
    expected = dict(zip(ps, (0.04, 0.04, 0.04, 0.015), strict=True))
    assert {name: rows[name]["p_holm"] for name in ps} == pytest.approx(expected, rel=1e-4)
    assert {rows[name]["verdict"] for name in ps} == {"supported"}
    assert rows["mimicry"]["p_holm"] is None


def test_an_endpoint_whose_two_masks_disagree_says_nothing():
    judged = over((1, 2)) | {"overlap, equal area": of_p(0.001, -1.0)}
    rows = rows_of(judged | {"overlap, threshold 0.4": of_p(0.001)})
    assert rows["overlap, threshold 0.4"]["p_holm"] == 1
    assert rows["overlap, threshold 0.4"]["verdict"] == "cannot tell"
    both = rows_of(judged | {"overlap, threshold 0.4": of_p(0.002, -1.0)})
    assert both["overlap, equal area"]["verdict"] == "contradicted"


def test_what_is_no_endpoint_is_above_or_below_0():
    rows = rows_of(over((1, 2)) | {"N, top-1": of_p(0.01, -1.0), "D, overlap": of_p(0.01)})
    assert rows["N, top-1"]["verdict"] == "below 0" and rows["D, overlap"]["verdict"] == "above 0"


def test_one_replicate_has_no_verdict_and_a_figure_without_any_no_row():
    rows = rows_of(over((1,)) | {"mimicry": []})
    assert "mimicry" not in rows
    assert {row["verdict"] for row in rows.values()} == {"no verdict: one replicate"}
    assert {row["std"] for row in rows.values()} == {None}


def test_the_ratio_is_of_means_and_needs_both():
    judged = over((1, 2, 3))
    tops, bottoms = ([own.value for own in judged[name]] for name in ("N, fidelity", "D, overlap"))
    found = slope_by_overlap(judged)
    assert found is not None
    assert found.estimate == pytest.approx(statistics.fmean(tops) / statistics.fmean(bottoms))
    assert "Fieller" in ratio_sentence(judged)
    assert "D may be 0" in ratio_sentence(judged | {"D, overlap": of_p(0.3)})
    assert ratio_sentence(judged | {"D, overlap": []}) == ""


# --- files --------------------------------------------------------------------------------------


def test_files_keep_values_to_the_bit_and_the_noise_of_images(folder):
    kept, written = read_replicate(folder / "replicate_2.csv"), replicate(2)
    assert kept.facts == written.facts and kept.cells == written.cells
    assert {name: own.value for name, own in kept.measured.items()} == {
        name: own.value for name, own in written.measured.items()
    }
    other = read_replicate(folder / "replicate_10.csv").measured
    for name in ("N, fidelity", "b of agreement"):
        before = [measured(seed)[name].contributions for seed in (2, 10)]
        after = [own[name].contributions for own in (kept.measured, other)]
        assert image_variance(torch.stack(after)) == pytest.approx(
            image_variance(torch.stack(before)), rel=0.02
        )


def test_a_replicate_of_the_study_takes_300_kilobytes_at_most(tmp_path):
    facts = FACTS | {"replicate": "1", "images": "10000"}
    paths = write_replicate(tmp_path, ReplicateFile(facts, measured(1, images=10_000), []))
    assert sum(path.stat().st_size for path in paths) < 300_000


def test_the_folder_is_judged(folder, capsys):
    study.main(["--study", str(folder)])
    rows = read_json(folder / "endpoints.json")
    assert [row["figure"] for row in rows] == [figure.name for figure in FIGURES]
    page = (folder / "endpoints.md").read_text()
    assert "Replicates 1, 2, 10: n = 3; 200 test images. Trained at abc, measured at abd" in page
    assert "given these training images" in page
    assert "Planned and not there: 3, 4, 5, 6, 7, 8, 9. **Fewer than 8" in page
    assert {row["verdict"] for row in rows} == {"no verdict: 3 of 8 replicates"}
    assert page.count("\n| ") == len(FIGURES) + 3 + (1 + 2) + (1 + 5) + 1 + len(own_rows())
    assert "| Sw | 44.333 ± 4.933 | - |" in page
    assert "b of agreement" in capsys.readouterr().out
    assert (folder / "endpoints.csv").is_file()


def test_eight_replicates_are_enough(tmp_path):
    for seed in range(1, 9):
        write_replicate(tmp_path, replicate(seed))
    study.main(["--study", str(tmp_path)])
    page = (tmp_path / "endpoints.md").read_text()
    assert "Planned and not there: 9, 10.\n" in page and "Fewer" not in page
    assert "no verdict:" not in page and "| supported |" in page


def test_the_folder_has_a_page_of_its_own(folder):
    """Its numbers are those of the CSV, its figures drawings whose points say their cells."""
    study.main(["--study", str(folder)])
    page = (folder / "index.html").read_text()
    for row in read_json(folder / "endpoints.json"):
        estimate, low, high = (f"{row[name]:.3f}" for name in ("estimate", "low", "high"))
        assert f'<td class="number">{estimate}</td><td class="number">{low} to {high}' in page
    points = re.findall(r'class="point"><title>([^<]+)', page)
    pairs = {"T1w_T2w": 2, "T1w_T2w+r95": 1}  # panels
    expected = [f"{pair}_{s}" for pair, n in pairs.items() for s in ("Sw", "Ss") for _ in range(n)]
    assert sorted(points) == sorted(expected)
    assert page.count("<svg") == 2 and "://" not in page
    assert len(page) < 3_000_000
    assert 'href="../README.md"' in page
    paper = read_json(folder / "paper.json")
    assert [row["figure"] for row in paper] == [row["figure"] for row in own_rows()]


def test_the_figure_shows_every_replicate_beside_the_mean(folder):
    judged = over((1, 2, 10))
    rows = judged_rows(judged)
    values = {name: [own.value for own in replicates] for name, replicates in judged.items()}
    figure = endpoints_figure(rows, values)
    chosen = [row for row in rows if row["rank"] != "exploratory"]
    dots = [sorted(line.get_xdata()) for axes in figure.axes for line in axes.lines
            if len(line.get_xdata()) == 3]  # fmt: skip
    assert sorted(dots) == sorted(sorted(values[row["figure"]]) for row in chosen)
    bars = [bar.get_segments()[0][:, 0].tolist() for axes in figure.axes
            for bar in axes.collections]  # fmt: skip
    assert sorted(bars) == sorted([row["low"], row["high"]] for row in chosen)
    labels = [" ".join(label.get_text().split())
              for axes in figure.axes for label in axes.get_yticklabels()]  # fmt: skip
    said = [f"{row['endpoint']} {row['figure']}: {row['what']}" for row in chosen]
    assert sorted(labels) == sorted(said)


def test_one_replicate_has_a_page_without_verdicts(tmp_path):
    write_replicate(tmp_path, replicate(1))
    study.main(["--study", str(tmp_path)])
    page = (tmp_path / "endpoints.md").read_text()
    assert page.count("no verdict: 1 of 8 replicates") == len(FIGURES) and "nan" not in page


@pytest.mark.parametrize("fact", CODE)
def test_replicates_of_another_study_are_refused(folder, fact):
    write_replicate(folder, replicate(2, **{fact: "other"}))
    with pytest.raises(UserError, match=f"replicate_1.csv and .*2.csv differ in {fact}"):
        study.main(["--study", str(folder)])


def test_codes_that_are_equal_in_bits_count_as_one(folder):
    facts = {"trained at": "abc abe", "training code": "c other"}
    write_replicate(folder, replicate(2, **facts))
    (folder / "same_code.txt").write_text("c the first\n\nother: a word on the screen\n")
    with pytest.raises(UserError, match="differ in training code"):
        study.main(["--study", str(folder)])
    (folder / "same_code.txt").write_text("c the first\n\nother a word on the screen\n")
    study.main(["--study", str(folder)])
    assert "Trained at abc abe, measured at abd." in (folder / "endpoints.md").read_text()
    write_replicate(folder, replicate(2, settings="other"))
    with pytest.raises(UserError, match="differ in settings"):
        study.main(["--study", str(folder)])


def test_a_copy_of_a_replicate_is_refused(folder):
    for kind in ("csv", "npz"):
        shutil.copy(folder / f"replicate_1.{kind}", folder / f"replicate_4.{kind}")
    with pytest.raises(UserError, match=r"replicate_4.csv is of 'replicate_1'"):
        study.main(["--study", str(folder)])


def test_a_replicate_that_was_not_planned_is_named_and_left_out(folder, capsys):
    write_replicate(folder, replicate(11, settings="other"))
    study.main(["--study", str(folder)])
    assert capsys.readouterr().err == f"left out: {folder}/replicate_11.csv: 1 to 10 were planned\n"
    assert "Replicates 1, 2, 10: n = 3; " in (folder / "endpoints.md").read_text()
    for seed in (1, 2, 10):
        (folder / f"replicate_{seed}.csv").unlink()
    with pytest.raises(UserError, match="no replicate in"):
        study.main(["--study", str(folder)])


def test_one_test_image_judges_nothing(tmp_path):
    facts = FACTS | {"replicate": "1", "images": "1"}
    write_replicate(tmp_path, ReplicateFile(facts, measured(1, images=1), described(1)))
    with pytest.raises(UserError, match="one test image"):
        study.main(["--study", str(tmp_path)])


def test_pairs_without_a_stratum_in_common_are_not_described():
    """Both images are right by one ensemble, and wrong by the other."""

    class Answered(Replicate):
        def ensemble(self, cell):
            right = torch.tensor([cell.teachers == DOSED] * 2)
            return Ensemble(torch.zeros(2), right, torch.tensor([1.0, 2.0]), right)

        def agrees(self, cell):
            return torch.ones(2).double()

    answered = Answered(None, None, 1, 1, None)
    assert not [*_of_two_pairs(answered, DOSED, PLACEBO)]
    assert [row["value"] for row in _of_two_pairs(answered, DOSED, DOSED)] == [0]


def test_what_is_damaged_is_refused(folder):
    table, arrays = folder / "replicate_2.csv", folder / "replicate_2.npz"
    text = table.read_text()
    for damage, message in (
        (text.replace("trained at", "trained"), "it has no trained at"),
        (text.replace("mimicry,,", "mimicry,,x"), "'mimicry' is"),
        (text.replace("mimicry,,", "other,,"), "it has no mimicry"),
        (text.replace("images,,200", "images,,300"), "not of the '300' images"),
        (text.replace("figure,cell", "cell,figure"), "columns"),
        (text + "one more\n", "a line has more or less"),
    ):
        table.write_text(damage)
        with pytest.raises(DamagedError, match=message):
            read_replicate(table)
    table.write_text(text)
    shutil.copy(folder / "replicate_1.npz", arrays)
    with pytest.raises(DamagedError, match="not the one"):
        study.main(["--study", str(folder)])


def test_flags_that_ask_for_nothing_are_refused(tmp_path):
    for flags, message in (
        (["--write"], "--seeds"),
        (["--cells", "Sw"], "cells of its own"),
        (["--latex"], "no table in LaTeX"),
        (["--seeds", "1"], "that --write keeps"),
        (["--study", str(tmp_path)], "no replicate in"),
    ):
        with pytest.raises(UserError, match=message):
            study.main(flags)
