from types import SimpleNamespace
from typing import Any

import pytest
from accelerate.utils import DistributedType
from torch import nn
from torch.distributed.fsdp import StateDictType

from hf_noisy.models.sharded import check_can_be_sharded, check_can_evaluate, sharded_by


def accelerator(kind: DistributedType, *, stage: int = 0, state_dict: str = "FULL_STATE_DICT", **further: Any) -> Any:
    state = SimpleNamespace(
        deepspeed_plugin=SimpleNamespace(zero_stage=stage),
        fsdp_plugin=SimpleNamespace(state_dict_type=StateDictType[state_dict]),
    )
    return SimpleNamespace(distributed_type=kind, state=state, **further)


def model(lora: Any = None) -> nn.Module:
    linear = nn.Linear(2, 2)
    linear.config = SimpleNamespace(lora=lora)
    return linear


@pytest.mark.parametrize(
    ("kind", "stage", "name"),
    [
        (DistributedType.NO, 0, None),
        (DistributedType.MULTI_CPU, 0, None),
        (DistributedType.MULTI_GPU, 0, None),
        (DistributedType.DEEPSPEED, 1, None),
        (DistributedType.DEEPSPEED, 2, None),
        (DistributedType.DEEPSPEED, 3, "DeepSpeed ZeRO-3"),
        (DistributedType.FSDP, 0, "FSDP"),
        (DistributedType.MEGATRON_LM, 0, "Megatron-LM"),
    ],
)
def test_what_spreads_weights_is_named(kind, stage, name):
    assert sharded_by(accelerator(kind, stage=stage)) == name


def test_branches_of_one_backbone_are_refused_only_where_weights_are_spread():
    for kind, stage in ((DistributedType.FSDP, 0), (DistributedType.DEEPSPEED, 3)):
        with pytest.raises(ValueError, match=r"one backbone \(lora or shared_layers\).* shared_layers=0, or use DDP"):
            check_can_be_sharded(model({"r": 2}), accelerator(kind, stage=stage))
        check_can_be_sharded(model(), accelerator(kind, stage=stage))
    check_can_be_sharded(model({"r": 2}), accelerator(DistributedType.DEEPSPEED, stage=2))
    check_can_be_sharded(model({"r": 2}), accelerator(DistributedType.MULTI_GPU))


def test_checkpoints_in_parts_are_refused():
    with pytest.raises(ValueError, match=r"fsdp_state_dict_type is SHARDED_STATE_DICT, .* set it to FULL_STATE_DICT"):
        check_can_be_sharded(model(), accelerator(DistributedType.FSDP, state_dict="SHARDED_STATE_DICT"))


def test_an_evaluation_before_training_is_refused_under_fsdp2():
    with pytest.raises(ValueError, match=r"before train\(\) cannot work under FSDP2, .* call train\(\) first"):
        check_can_evaluate(accelerator(DistributedType.FSDP, is_fsdp2=True, _models=[]))
    check_can_evaluate(accelerator(DistributedType.FSDP, is_fsdp2=True, _models=[model()]))
    check_can_evaluate(accelerator(DistributedType.MULTI_GPU, is_fsdp2=False, _models=[]))
