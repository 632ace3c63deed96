"""What enrichments ask: a function of the project, or an HTTP endpoint."""
