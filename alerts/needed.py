"""The series that alerts need: if one is missing, that is an alert too.

Replicas that share a ledger show what belongs to an account without `instance` (docs/replicas.md),
and those that hold no account show nothing of that kind.
"""

from typing import Final

_BUCKETS_OF_START: Final = (
    "comfycontrol_workflow_time_to_start_seconds_bucket, le=[[objective.starts_within]]"
)

OF_ACCOUNTS: Final = (
    # An account that is down shows none.
    (
        "comfycontrol_workflows",
        "comfycontrol_workflows or on (job, instance) comfycontrol_account_up == 0",
    ),
    # Before its first answer, and where nothing is asked, an account is neither up nor down.
    (
        "comfycontrol_account_up",
        "comfycontrol_account_up or on (job, instance) comfycontrol_account_listed == 0",
    ),
    *(
        (name, name)
        for name in (
            "comfycontrol_workflows_finished_total",
            "comfycontrol_workflows_started_total",
            "comfycontrol_workflows_failed_in_a_row",
            "comfycontrol_workflows_dropped_total",
            "comfycontrol_api_requests_total",
            "comfycontrol_account_listed",
            "comfycontrol_label_overflow_total",
            "comfycontrol_workflow_series_omitted",
        )
    ),
    # Either form will do. Without the bucket of the objective its alert is silent.
    (
        _BUCKETS_OF_START,
        (
            "comfycontrol_workflow_time_to_start_seconds_bucket"
            '{le=~"[[objective.starts_within]](\\\\.0)?"}'
            " or comfycontrol_workflow_time_to_start_seconds"
        ),
    ),
    (
        "comfycontrol_workflow_run_duration_seconds_bucket",
        (
            "comfycontrol_workflow_run_duration_seconds_bucket"
            " or comfycontrol_workflow_run_duration_seconds"
        ),
    ),
)
"""The series that every exporter that counts an account always shows and that alerts are made of:
the name of each, and an expression that has a value unless it is missing."""

OF_EXPORTERS: Final = (
    "comfycontrol_exporter_label_values_cap",
    "comfycontrol_exporter_ledger_errors_total",
    "comfycontrol_exporter_config_last_reload_successful",
)
"""Those that every exporter shows."""

_NO_INSTANCE: Final = 'label_replace(vector(1), "instance", "", "", "")'
"""Matches series without an instance, which come from all replicas together."""

_HOLDS_NOTHING: Final = (
    "comfycontrol_exporter_replicas unless on (job, instance) comfycontrol_account_held == 1"
)


def missing() -> str:
    """Exporters that are up, each with a series that does not arrive from it."""
    return "\nor\n".join(
        (
            *(
                _named(
                    name,
                    f"unless on (job, instance) ({there})\n"
                    f"  unless on (job) (({there}) and on (instance) {_NO_INSTANCE})\n"
                    f"  unless on (job, instance) ({_HOLDS_NOTHING})",
                )
                for name, there in OF_ACCOUNTS
            ),
            *(_named(name, f"unless on (job, instance) ({name})") for name in OF_EXPORTERS),
        )
    )


def _named(name: str, unless: str) -> str:
    return (
        f'label_replace(up{{job="[[settings.job]]"}} == 1 {unless},\n  "series", "{name}", "", "")'
    )
