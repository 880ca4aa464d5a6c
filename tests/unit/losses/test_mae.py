import torch

from hf_noisy.losses.mae import MAE


def test_is_half_the_distance_to_the_one_hot_label():
    logits = torch.randn(6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 3, 4, 0])
    distance = (logits.softmax(-1) - torch.nn.functional.one_hot(labels, 5)).abs().sum(-1)
    torch.testing.assert_close(MAE()(logits, labels), distance / 2)


def test_gradient_fades_where_the_model_is_sure_either_way():
    logits = torch.tensor([[9.0, 0.0], [0.0, 0.0], [-9.0, 0.0]], requires_grad=True)
    MAE()(logits, torch.tensor([0, 0, 0])).sum().backward()
    sizes = logits.grad.abs().sum(-1)
    assert sizes[1] == 0.5
    assert sizes[[0, 2]].max() < 1e-3
