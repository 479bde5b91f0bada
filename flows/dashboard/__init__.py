"""What Prefect's dashboard and the report server show."""
