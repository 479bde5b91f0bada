"""What runs the recipes: the only code of this project that imports mmengine and mmdet."""

from phase2_configs.mmcv_compat.mmcv_finder import install, leave_out_language_models

# `make setup` has every interpreter do this; an environment that pip made from a wheel has not.
install()
leave_out_language_models()
