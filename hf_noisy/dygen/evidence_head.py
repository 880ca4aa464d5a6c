"""The evidence of the prior for any row, read from its trajectory vector."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hf_noisy.detection.evidence import Evidence
from hf_noisy.detection.predictors import LENGTH

# Share of the evidence beside the VAE, which forgets some of the prior. Chosen on frozen encoders.
SHARE = 2 / 3


class EvidenceHead(nn.Module):
    """The head of [`~hf_noisy.detection.evidence.Evidence`] on the features at the end of `w`."""

    weight: Tensor
    bias: Tensor
    transition: Tensor

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(width, num_classes))
        self.register_buffer("bias", torch.zeros(num_classes))
        self.register_buffer("transition", torch.eye(num_classes))

    @classmethod
    def of(cls, evidence: Evidence) -> "EvidenceHead":
        """The head of fitted evidence."""
        head = cls(*evidence.head.weight.shape)
        head.weight.copy_(torch.from_numpy(evidence.head.weight))
        head.bias.copy_(torch.from_numpy(evidence.head.bias))
        head.transition.copy_(torch.from_numpy(evidence.transition))
        return head

    def forward(
        self, w: Float[Tensor, "branch rows dim"], labels: Int[Tensor, " rows"] | None = None
    ) -> Float[Tensor, "rows classes"]:
        """Probabilities of the true label, with `labels` also given these."""
        # All branches have the same features, centred as the evidence centres them, up to their scale.
        features = nn.functional.normalize(w[0, :, w.shape[2] - len(self.weight) :].float(), dim=-1, eps=1e-12)
        found = (LENGTH * features @ self.weight.float() + self.bias.float()).softmax(-1)
        if labels is not None:
            found = found * self.transition.float()[:, labels].T
            found = found / found.sum(-1, keepdim=True)
        return found


def mixed(
    posterior: Float[Tensor, "rows classes"],
    evidence: Float[Tensor, "rows classes"],
    networks: Float[Tensor, "branch rows classes"] | None = None,
) -> Tensor:
    """The posterior of the VAE and the evidence, weighted; with predictions of the networks, the mean of the three."""
    if networks is None:
        return (1 - SHARE) * posterior + SHARE * evidence
    # A trained encoder can know what features before training do not tell, and what the VAE has forgotten.
    return (posterior + evidence + networks.mean(0).to(posterior.dtype)) / 3
