"""When and with what: settings, the store of stages, Prefect flows and the `mal` command."""
