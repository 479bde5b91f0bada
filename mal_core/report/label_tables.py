"""How good labels are, as text."""

from mal_core.evaluation.calibration import Calibration
from mal_core.evaluation.label_metrics import LabelMetrics
from mal_core.geometry.boxes import SIZE_NAMES
from mal_core.report.text_tables import format_number, text_table


def metrics_text(metrics: LabelMetrics) -> str:
    """The metrics of labels for a terminal."""
    rows = [
        {
            "": title,
            **{size: format_number(getattr(means, size)) for size in ("all", *SIZE_NAMES)},
        }
        for title, means in (
            ("mask IoU, mean over objects", metrics.mask_iou),
            ("mask IoU, mean over classes", metrics.class_iou),
            ("boundary IoU, mean over objects", metrics.boundary_iou),
        )
    ]
    classes = [
        {
            "class": of_class.name,
            "objects": str(of_class.objects),
            "mask IoU": format_number(of_class.mask_iou),
            "boundary IoU": format_number(of_class.boundary_iou),
        }
        for of_class in metrics.classes
    ]
    lines = [f"{metrics.objects} objects with a human mask, {metrics.missing} of them unlabeled"]
    if metrics.groups is not None:
        groups = ", ".join(f"{name} {format_number(v)}" for name, v in metrics.groups.items())
        lines.append(f"mean over classes of {groups}")
    if metrics.clustering is not None:
        score, objects = metrics.clustering.score, metrics.clustering.objects
        lines.append(f"clustering score {format_number(score)} over {objects} objects; 0 is best")
    return "\n\n".join([text_table(classes), text_table(rows), "\n".join(lines)])


def calibration_text(found: Calibration) -> str:
    """What a calibration did, for a terminal."""
    rows = [
        {
            "on human masks that were kept out": title,
            "rank correlation": format_number(judged.spearman),
            "AUROC of IoU < 0.5": format_number(judged.auroc),
            "calibration error": format_number(judged.calibration_error),
        }
        for title, judged in (("score before", found.before), ("score now", found.after))
    ]
    lines = [
        f"fitted to {found.fitted} human masks, tried on {found.after.objects} others",
        f"{100 * found.covered:.0f} % of these lie in their intervals (90 % are to be expected)",
        f"{found.rescored} labels have a new score",
    ]
    return "\n\n".join([text_table(rows), "\n".join(lines)])
