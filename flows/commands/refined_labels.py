"""`mal refine`: better versions of masks that are there already, whoever drew them."""

from flows.settings.run_config import RunConfig
from flows.stages import cards, targets
from flows.stages.images import photos_of
from flows.stages.normal_form import in_utf8
from flows.stages.run import Run
from mal_core.errors import ConfigError, told_of


def refine(config: RunConfig) -> str:
    """Write a labeled COCO file again with its masks refined.

    Returns:
        Where every annotation went, and the mean scores before and after.

    Raises:
        ConfigError: A setting is missing, or the target is the input.
        DatasetError: The file or an image is wrong.
        CheckpointError: The checkpoint is none.
    """
    from mal_core.labelers.refined_file import refine_file

    given = config.pseudo_labels or config.labels
    if given is None or config.images is None or config.output is None:
        message = "mal refine needs pseudo_labels=FILE images=DIR output=FILE."
        raise ConfigError(message)
    targets.check_labels_output(config)
    run = Run(config)
    labels = in_utf8(run, given)
    with told_of({labels: given}):
        photos = photos_of(run, config.images, labels)
        with targets.writable(config.output):
            found = refine_file(
                labels,
                photos,
                config.output,
                mal=config.mal,
                checkpoint=config.checkpoint,
                trust=config.trust,
            )
            cards.write_rewritten(run, given, config.output, "refinement")
    return found.summary()
