"""The slope over images and cells, beside numpy's least squares with a dummy for each effect."""

import math

import numpy as np
import pytest
import torch

from metrics.panel import panel_slope, within


def by_dummies(y, x, z):
    """Coefficient of x where every image and every cell has a column of its own."""
    images, cells = y.shape
    rows = np.arange(images * cells)
    columns = [x.reshape(-1, 1), z.reshape(images * cells, -1)]
    columns += [np.eye(images)[rows // cells], np.eye(cells)[rows % cells]]
    return np.linalg.lstsq(np.hstack(columns), y.reshape(-1), rcond=None)[0][0]


def made_up(random, images, cells, slope):
    """x goes with the image, the cell and the covariate, all of which move y on their own."""
    image, cell = random.normal(size=(images, 1)), random.normal(size=(1, cells))
    z = random.normal(size=(images, cells, 2))
    x = 0.5 * image + cell + z[..., 0] + random.normal(size=(images, cells))
    noise = random.normal(size=(images, cells))
    return slope * x + 2 * image - cell + 3 * z[..., 0] - z[..., 1] + noise, x, z


def test_by_hand():
    """Two images in two cells: within, x and y are half their interaction, so b is 3 / 1."""
    x = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    y = torch.tensor([[5.0, 9.0], [1.0, 2.0]])
    assert within(x).tolist() == [[-0.25, 0.25], [0.25, -0.25]]
    assert panel_slope(y, x).mean().item() == pytest.approx(3)


@pytest.mark.parametrize("with_covariates", [False, True])
def test_is_least_squares_with_a_dummy_for_each_image_and_cell(random, with_covariates):
    y, x, z = made_up(random, 30, 4, 0.7)
    z = z if with_covariates else z[..., :0]
    found = panel_slope(*map(torch.from_numpy, (y, x)), torch.from_numpy(z))
    assert found.mean().item() == pytest.approx(by_dummies(y, x, z), abs=1e-10)


def test_covariates_that_repeat_each_other_or_an_effect_change_nothing(random):
    y, x, z = map(torch.from_numpy, made_up(random, 20, 3, 0.7))
    of_image = torch.arange(20.0)[:, None, None].expand(20, 3, 1)
    more = torch.cat([z, z[..., :1], of_image, torch.zeros(20, 3, 1)], dim=2)
    torch.testing.assert_close(panel_slope(y, x, more), panel_slope(y, x, z))


def test_its_noise_is_that_of_drawing_images(random):
    """The spread of the estimate over 300 sets of images, beside what each image adds."""
    estimates, claimed = [], []
    for _ in range(300):
        y, x, z = map(torch.from_numpy, made_up(random, 60, 4, 0.7))
        added = panel_slope(y, x, z)
        estimates.append(added.mean().item())
        claimed.append(added.var().item() / 60)
    assert np.mean(estimates) == pytest.approx(0.7, abs=4 * np.std(estimates) / math.sqrt(300))
    assert np.mean(claimed) == pytest.approx(np.var(estimates), rel=0.25)


def test_what_all_cells_of_an_image_share_has_no_slope(random):
    y, x, z = map(torch.from_numpy, made_up(random, 20, 2, 0.7))
    with pytest.raises(ValueError, match="leave nothing of it"):
        panel_slope(y, x[:, :1].expand(20, 2), z)
    with pytest.raises(ValueError, match="leave nothing of it"):
        panel_slope(y, z[..., 0], z)


def test_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="differ"):
        panel_slope(torch.zeros(3, 2), torch.zeros(3, 3))
    with pytest.raises(ValueError, match="expected"):
        panel_slope(torch.zeros(3), torch.zeros(3))
    with pytest.raises(ValueError, match="covariates"):
        panel_slope(torch.zeros(3, 2), torch.zeros(3, 2), torch.zeros(3, 1, 1))
    with pytest.raises(ValueError, match="NaN"):
        panel_slope(torch.full((3, 2), math.nan), torch.rand(3, 2))
