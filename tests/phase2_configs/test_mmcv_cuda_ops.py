"""The stand-ins for mmcv's compiled ops give on a GPU what they give on a CPU."""

import pytest
import torch

from phase2_configs.mmcv_compat.mmcv_finder import EXTENSION
from phase2_configs.mmcv_compat.mmcv_ops import OpsModule
from tests.phase2_configs import mmcv_cases

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
OPS = OpsModule(EXTENSION)
CASES = [
    (mmcv_cases.case_nms, (0,)),
    (mmcv_cases.case_nms, (1,)),
    (mmcv_cases.case_roi_align, (2, True)),
    (mmcv_cases.case_roi_align, (0, False)),
    (mmcv_cases.case_modulated_deform_conv, ()),
    (mmcv_cases.case_deform_conv, ()),
    (mmcv_cases.case_focal_loss, ()),
    (mmcv_cases.case_deformable_attention, ()),
]


def as_cpu(value):
    if isinstance(value, torch.Tensor):
        return value.cpu()
    return [as_cpu(part) for part in value]


@pytest.mark.parametrize(("case", "arguments"), CASES)
def test_an_op_gives_on_a_gpu_what_it_gives_on_a_cpu(case, arguments):
    here, there = (
        case(OPS, torch.Generator().manual_seed(21), device, *arguments)
        for device in ("cpu", "cuda")
    )
    torch.testing.assert_close(as_cpu(there), as_cpu(here), rtol=1e-3, atol=1e-4)
