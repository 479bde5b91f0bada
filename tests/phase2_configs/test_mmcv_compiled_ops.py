"""Where mmcv has compiled ops, the stand-ins equal them."""

import importlib
import importlib.util
from types import ModuleType

import pytest
import torch

from phase2_configs.mmcv_compat.mmcv_finder import EXTENSION
from phase2_configs.mmcv_compat.mmcv_ops import OpsModule
from tests.phase2_configs.mmcv_cases import (
    case_deform_conv,
    case_deformable_attention,
    case_focal_loss,
    case_modulated_deform_conv,
    case_nms,
    case_roi_align,
)

OURS = OpsModule(EXTENSION)
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.fixture
def compiled() -> ModuleType:
    spec = importlib.util.find_spec(EXTENSION)
    if spec is None or not str(spec.origin).endswith(".so"):
        pytest.skip("mmcv has no compiled ops here (make setup MMCV_OPS=compiled builds them)")
    return importlib.import_module(EXTENSION)


SEED = 21


@pytest.fixture(autouse=True)
def skip_without_cuda(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("no CUDA device")


def both(case, compiled: ModuleType, *arguments: object):
    results = [
        case(ops, torch.Generator().manual_seed(SEED), *arguments) for ops in (OURS, compiled)
    ]
    return results[0], results[1]


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("device", DEVICES)
def test_nms_equals_the_compiled_op(device: str, offset: int, compiled: ModuleType) -> None:
    ours, theirs = both(case_nms, compiled, device, offset)
    assert ours.tolist() == theirs.tolist()


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
@pytest.mark.parametrize("device", DEVICES)
def test_roi_align_equals_the_compiled_op(
    device: str, sampling_ratio: int, aligned: bool, compiled: ModuleType
) -> None:
    torch.testing.assert_close(*both(case_roi_align, compiled, device, sampling_ratio, aligned))


@pytest.mark.parametrize("case", [case_modulated_deform_conv, case_deform_conv])
@pytest.mark.parametrize("device", DEVICES)
def test_deformable_convolutions_equal_the_compiled_ops(
    case, device: str, compiled: ModuleType
) -> None:
    torch.testing.assert_close(*both(case, compiled, device), rtol=1e-4, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("case", [case_focal_loss, case_deformable_attention])
def test_ops_compiled_for_cuda_only_equal_ours(case, compiled: ModuleType) -> None:
    torch.testing.assert_close(*both(case, compiled, "cuda"), rtol=1e-4, atol=1e-5)
