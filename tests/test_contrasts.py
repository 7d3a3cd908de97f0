"""Contrasts of cells, by hand and on made up answers."""

import numpy as np
import pytest
import torch

from metrics.contrasts import over_all_images, quintile_of, slope_on, standardised_difference
from metrics.ratio import Ratio, image_variance, ratio_of_means


def test_fifths_hold_equally_many():
    values = torch.randperm(100, generator=torch.Generator().manual_seed(0)).view(4, 25)
    fifths = quintile_of(values)
    assert fifths.shape == values.shape
    assert torch.bincount(fifths.flatten()).tolist() == [20] * 5
    assert torch.equal(fifths, values // 20)
    assert quintile_of(torch.tensor([0, 1, 2, 3, 4, 5])).tolist() == [0, 0, 1, 2, 3, 4]


def test_standardising_by_hand():
    """Of `a` three images of stratum 0 at 1/3, one of stratum 1 at 1; of `b` one at 0, three at
    2/3: plainly equal, and a third more in either stratum."""
    a, strata_a = torch.tensor([1.0, 0, 0, 1]), torch.tensor([0, 0, 0, 1])
    b, strata_b = torch.tensor([0.0, 1, 1, 0]), torch.tensor([0, 1, 1, 1])
    assert a.mean() == b.mean()
    found = standardised_difference(a, b, strata_a, strata_b, 2)
    assert found.contributions.mean().item() == pytest.approx(1 / 3)
    assert found.left_out == 0


def test_strata_of_one_group_alone_are_left_out():
    a, b = torch.tensor([1.0, 1, 0, 0]), torch.tensor([0.0, 1, 1, 1])
    strata_a, strata_b = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 2, 2])
    found = standardised_difference(a, b, strata_a, strata_b, 3)
    assert found.contributions.mean().item() == pytest.approx(0.5)
    assert found.left_out == 0.5
    with pytest.raises(ValueError, match="none that both"):
        standardised_difference(a, b, torch.zeros(4).long(), torch.ones(4).long(), 2)
    with pytest.raises(ValueError, match="differ"):
        standardised_difference(a, b[:3], strata_a, strata_b, 3)


def answers(random, images):
    """Two groups alike within strata, `a` with more of the easy ones, and what would be so if b had
    .1 less in each."""
    hard = random.random(images)
    easy_a, easy_b = (torch.from_numpy(hard < share).long() for share in (0.7, 0.5))
    a, b = (
        torch.from_numpy(random.random(images) < 0.3 + 0.5 * easy.numpy() - less).double()
        for easy, less in ((easy_a, 0), (easy_b, 0.1))
    )
    return a, b, easy_a, easy_b


def test_standardised_noise_is_that_of_drawing_images(random):
    plain, adjusted, claimed = [], [], []
    for _ in range(400):
        a, b, easy_a, easy_b = answers(random, 200)
        added = standardised_difference(a, b, easy_a, easy_b, 2).contributions
        plain.append((a - b).mean().item())
        adjusted.append(added.mean().item())
        claimed.append(added.var().item() / 200)
    assert np.mean(plain) == pytest.approx(0.2, abs=0.01)
    assert np.mean(adjusted) == pytest.approx(0.1, abs=0.01)
    assert np.mean(claimed) == pytest.approx(np.var(adjusted), rel=0.25)


def test_slope_on_the_dose_is_least_squares():
    doses = (0.0, 0.5, 0.95)
    values = torch.randn(3, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = np.polyfit(doses, values.numpy(), 1)[0]
    np.testing.assert_allclose(slope_on(doses, list(values)), expected)
    with pytest.raises(ValueError, match="doses"):
        slope_on((0.5, 0.5), list(values[:2]))


def test_what_is_known_of_some_images_keeps_its_mean_and_noise():
    values = torch.randn(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    added = over_all_images(values, torch.arange(0, 200, 4), 200)
    assert added.mean().item() == pytest.approx(values.mean().item())
    assert added.var().item() / 200 == pytest.approx(values.var().item() / 50, rel=0.03)
    torch.testing.assert_close(over_all_images(values, torch.arange(50), 50), values)


def replicates(random, count, images, effect, spread, shared):
    """(2, R, n): the first figure is `effect` times the second, whose mean is .4; images move all
    replicates alike."""
    own = random.normal(0.4, spread, size=(count, 1))
    of_image = shared * random.normal(size=images)
    noise = random.normal(scale=0.2, size=(2, count, images))
    top = effect * own + random.normal(0, spread, size=(count, 1)) + of_image
    return torch.from_numpy(np.stack([top + noise[0], own + of_image + noise[1]]))


def test_images_that_replicates_share(random):
    rows = replicates(random, 6, 4000, 0.5, 0.1, 0.7)
    for figure in rows:
        assert image_variance(figure) == pytest.approx(0.49 / 4000, rel=0.1)


def test_fieller_by_hand():
    """Numerators 4 and 6, denominators 18 and 20, images all alike: means 5 and 19, and 1 for both
    variances and the covariance, so (5 - 19 r)^2 = t^2 (1 - r)^2. Denominators 1 and 3 may be 0."""
    tops, low = torch.tensor([[4.0], [6.0]]), torch.tensor([[1.0], [3.0]])
    pair = [own.expand(2, 10) for own in (tops, low, low + 17)]
    assert ratio_of_means(pair[0], pair[1]) is None
    found = ratio_of_means(pair[0], pair[2])
    t = 12.706204736
    assert found is not None and found.estimate == pytest.approx(5 / 19)
    ends = sorted([(5 - t) / (19 - t), (5 + t) / (19 + t)])
    assert [found.low, found.high] == pytest.approx(ends)
    assert ratio_of_means(pair[0][:1], pair[2][:1]) is None
    with pytest.raises(ValueError, match="two"):
        ratio_of_means(tops, low.T)


def test_fieller_holds_the_truth_as_often_as_it_says(random):
    """1,000 studies of 6 replicates with shared images: 95%, within 3 standard errors (2.1%)."""
    found: list[Ratio | None] = [
        ratio_of_means(*replicates(random, 6, 50, 0.5, 0.08, 0.3)) for _ in range(1000)
    ]
    known = [ratio for ratio in found if ratio is not None]
    held = sum(ratio.low <= 0.5 <= ratio.high for ratio in known)
    assert len(known) > 950
    assert held / len(known) == pytest.approx(0.95, abs=0.021)
