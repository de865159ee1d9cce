"""The generated parts of the Helm chart: `python -m helm.build`."""
