"""Parts of the alerts' texts that ask Prometheus, of the account that an alert is about.

They are evaluated again and again while the alert fires, so they say what is true now.
"""

from collections.abc import Mapping
from typing import Final

OF_ACCOUNT: Final = "$labels.job $labels.instance $labels.account"
"""The arguments for the matchers of a query in a text."""


def _of_account(query: str) -> str:
    """A query in a text, of the account that the alert is about, for `with` or `range`."""
    series = query.replace("@", "{job=%q, instance=%q, account=%q}")
    return f"printf `{series}` {OF_ACCOUNT} | query"


def cap_of(label: str) -> str:
    """A query in a text: the cap of the values of a label, for `with`.

    Replicas that share a ledger have the same configuration, and their accounts no `instance`.
    """
    cap = "comfycontrol_exporter_label_values_cap"
    return (
        f"printf `{cap}{{job=%q, instance=%q, label=%q}} "
        f"or on (job) max by (job) ({cap}{{job=%q, label=%q}})` "
        f"$labels.job $labels.instance {label} $labels.job {label} | query"
    )


STANDSTILL: Final = (
    f"{{{{ with {_of_account('time() - comfycontrol_last_progress_timestamp_seconds@')} }}}}"
    "none has started or ended for {{ . | first | value | humanizeDuration }}"
    "{{ else }}none has ever started or ended{{ end }}"
)
"""For how long nothing moves. Whatever is counted says when that was."""

OLDEST: Final = (
    "{{ with "
    + _of_account("max(time() - comfycontrol_oldest_workflow_created_timestamp_seconds@)").replace(
        "account=%q}", 'account=%q, status=~"accepted|uploaded|queued"}'
    )
    + " }}, the oldest for {{ . | first | value | humanizeDuration }}{{ end }}"
)

CAUSE: Final = (
    '{{ $cause := "" }}'
    f"{{{{ range {_of_account('comfycontrol_account_down@ == 1')} }}}}"
    "{{ $cause = label `cause` . }}{{ end }}"
)
"""Sets the variable `$cause` to why the account is down now."""


def _by_cause(texts: Mapping[str, str], otherwise: str) -> str:
    tests = "{{ else if ".join(f"eq $cause `{cause}` }}}}{text}" for cause, text in texts.items())
    return f"{{{{ if {tests}{{{{ else }}}}{otherwise}{{{{ end }}}}"


DOWN_SHORT: Final = _by_cause(
    {
        "token_refused": "The service refuses the token of {{ $labels.account }}",
        "not_listed": "The service refuses the list of {{ $labels.account }}",
        "server_errors": "The service answers {{ $labels.account }} with 5xx",
        "no_answer": "The service does not answer for {{ $labels.account }}",
    },
    "The service gives no usable answer for {{ $labels.account }}",
)
DOWN_LONG: Final = _by_cause(
    {
        "token_refused": "Its token is refused: the account cannot be followed until it has a "
        "token that is accepted.",
        "not_listed": "Its list is answered with 403 or 404: new workflows and outcomes are "
        "not seen.",
        "server_errors": "Its requests are answered with errors of the service (5xx).",
        "no_answer": "No answer arrives at all: check the host name, the connection, the proxy and "
        "the certificate.",
        "unusable": "The answers are not from the service itself, or not in its format.",
    },
    "Its requests were not answered.",
)
LAST_ANSWER: Final = (
    "{{ with "
    + _of_account("time() - comfycontrol_account_last_usable_answer_timestamp_seconds@")
    + " }}The last usable answer came {{ . | first | value | humanizeDuration }} ago."
    "{{ else }}No usable answer came since the exporter started.{{ end }}"
)
MEANWHILE: Final = (
    "{{ with "
    + _of_account("comfycontrol_account_listed@ == 1")
    + " }}Workflows that end now are counted later, from the list."
    "{{ else }}Its ids are kept, and each is requested again.{{ end }}"
)
