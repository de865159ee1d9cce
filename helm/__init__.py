"""What of the Helm chart is made by programs: `python -m helm.build`."""
