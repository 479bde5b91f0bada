"""What runs the recipes: the only code of this project that imports mmengine and mmdet."""
