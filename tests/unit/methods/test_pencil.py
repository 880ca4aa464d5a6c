import pytest
import torch
from torch.nn import functional as F

from hf_noisy.methods.pencil import PENCIL
from tests.unit.methods.pairs import CLASSES, ROWS, LinearOne, given_labels, make_batch, ready, train, weights

ALL, LABELS = torch.arange(ROWS), given_labels()
PHASES = {"phases": (0.25, 0.75), "label_scale": 2.0}


def test_the_three_phases_are_those_of_the_paper():
    model = LinearOne()
    method = ready(PENCIL(0.4, 0.1, label_learning_rate=0.01, **PHASES), model)
    label_logits = 2.0 * F.one_hot(LABELS, CLASSES)
    log_p = model(ALL).logits.log_softmax(1)
    p = log_p.exp()
    for epoch in range(4):
        step = method(model, make_batch(ALL, LABELS, epoch))
        d = label_logits.softmax(1)
        divergence = (p * (log_p - d.log())).sum(1) / CLASSES
        if epoch == 0:
            expected = -log_p[ALL, LABELS]
        elif epoch < 3:
            held = F.cross_entropy(d, LABELS, reduction="none")
            expected = divergence + 0.4 * held - 0.1 * (p * log_p).sum(1) / CLASSES
            # Of the divergence (d - p) / C; of the other term through the softmax.
            away = d.softmax(1) - F.one_hot(LABELS, CLASSES)
            through = d * (away - (d * away).sum(1, keepdim=True))
            gradient = (d - p) / CLASSES + 0.4 * through
            label_logits = (label_logits - 0.01 * 130 / 2 * gradient).detach()
        else:
            expected = divergence
        torch.testing.assert_close(step.losses, expected, rtol=1e-5, atol=1e-6)
        if epoch in (1, 2):
            torch.testing.assert_close(method.label_logits.values.double(), label_logits, rtol=1e-5, atol=1e-6)


def test_wrong_labels_are_corrected_where_the_network_knows_better():
    model = LinearOne()
    with torch.no_grad():
        model.weights[0] *= 5
    predicted = model(ALL).logits.argmax(1)
    wrong = (predicted + (ALL % 2)) % CLASSES
    method = ready(PENCIL(phases=(0.0, 1.0)), model)
    for epoch in range(20):
        method(model, make_batch(ALL, wrong, epoch, 20))
    assert (method.label_logits.values.argmax(1) == predicted).float().mean() > 0.9


@pytest.mark.parametrize("parts", [2, 3])
def test_accumulation_is_one_batch(parts):
    models = LinearOne(), LinearOne()
    for model, count in zip(models, (1, parts), strict=True):
        train(ready(PENCIL(**PHASES), model), model, range(4), parts=count)
    torch.testing.assert_close(weights(models[0]), weights(models[1]), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"compatibility_weight": -1.0}, "compatibility_weight must be at least 0, got -1"),
        ({"label_learning_rate": float("inf")}, "label_learning_rate must be at least 0, got inf"),
        ({"label_scale": 0.0}, "label_scale must be above 0, got 0"),
        ({"phases": (0.5, 0.2)}, r"phases must be two rising shares in \[0, 1\], got \(0.5, 0.2\)"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        PENCIL(**settings)
