"""Pictures of the dashboards in typical situations, drawn from invented data."""
