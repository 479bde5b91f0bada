"""The record of a check as a markdown table, for docs/results.md."""

from collections.abc import Iterator
from typing import Any

Row = tuple[str, str]


def markdown(record: dict[str, Any]) -> str:
    """A table of everything that was measured, also of parts that failed or had no more time."""
    packages = ", ".join(f"{name} {version}" for name, version in record["packages"].items())
    head = f"{record['device']}, {record['date']}, Python {record['python']}, {packages}"
    lines = [f"{head}{'; toy sizes: numbers mean nothing' if record['toy'] else ''}", ""]
    lines += ["| what | measured |", "|---|---|"]
    for part, result in record["parts"].items():
        lines.append(f"| **{part}** | {result['status']}, {result['seconds']:.0f} s |")
        if result["numbers"] is not None:
            rows = {
                "tests": _tests,
                "phase1": _phase1,
                "labeling": _labeling,
                "phase2": _phase2,
                "pipeline": _pipeline,
            }[part](result["numbers"])
            lines += [f"| {what} | {seen} |" for what, seen in rows]
    return "\n".join(lines) + "\n"


def _tests(numbers: dict[str, Any]) -> Iterator[Row]:
    yield "tests marked `gpu`", numbers["summary"].strip("= ")


def _phase1(numbers: dict[str, Any]) -> Iterator[Row]:
    if "copy_gb_per_s" in numbers:
        yield (
            "the card: bf16 product, copy",
            f"{numbers['bf16_peak_tflops']:.0f} TFLOP/s, {numbers['copy_gb_per_s']:.0f} GB/s",
        )
    if compared := numbers.get("comparison"):
        yield (
            "losses against the CPU's, worst relative difference",
            f"fp32 {compared['worst_difference_fp32']:.1e}, "
            f"bf16 {compared['worst_difference_bf16']:.1e}",
        )
    for title, mode in numbers.get("modes", {}).items():
        yield (
            f"training, {title}",
            f"{mode['steps_per_s']:.2f} steps/s, {mode['crops_per_s']:.0f} crops/s, "
            f"{mode['peak_memory_gb']:.1f} GB, {mode['share_of_bf16_peak']:.1%} of the card's "
            f"bf16 product, first steps {mode['warm_up_s']:.0f} s",
        )
    if field := numbers.get("mean_field"):
        yield (
            "mean field of one batch",
            f"{field['ms']:.2f} ms (step by step {field['stepwise_ms']:.2f} ms); "
            f"its bytes alone {field['roofline_ms']:.2f} ms "
            f"({field['share_of_roofline']:.0%})",
        )


def _labeling(numbers: dict[str, Any]) -> Iterator[Row]:
    for title, one in numbers.items():
        for how, seen in one.items():
            busy = seen["gpu_utilization"]
            yield (
                f"labeling, {title}, {how.replace('_', ' ')}",
                f"{seen['boxes_per_s']:.1f} boxes/s"
                + ("" if busy is None else f", card busy {busy:.0%}"),
            )


def _phase2(numbers: dict[str, Any]) -> Iterator[Row]:
    for recipe, seen in numbers.items():
        if "error" in seen:
            yield recipe, f"broke off: {seen['error']}"
            continue
        yield (
            f"{recipe}, batch {seen['batch']}",
            f"{seen['images_per_s']:.1f} images/s, {seen['peak_memory_gb']:.1f} GB, "
            f"{seen['waiting_for_data']:.0%} of the time waiting for data",
        )


def _pipeline(numbers: dict[str, Any]) -> Iterator[Row]:
    if smoke := numbers.get("smoke"):
        yield (
            "mal run experiment=smoke",
            f"{smoke['seconds']:.0f} s on {', '.join(smoke['devices'])}",
        )
    if resume := numbers.get("resume"):
        yield (
            "labeler asked to end and continued",
            f"exit {resume['exit_of_interrupted']}, from step {resume['continued_from']} "
            f"of {resume['of']}",
        )
