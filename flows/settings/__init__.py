"""Settings of a run: composed by Hydra, checked by pydantic, typed records after that."""
