"""Which replica should hold which account. Pure.

Every replica computes the same answer from the same list, so none has to ask another. When a
replica comes or goes, as few accounts as possible move, and none has more than its share.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from hashlib import blake2b


def spread(accounts: Collection[str], replicas: Collection[str]) -> Mapping[str, str]:
    """Assign a replica to each account; the result is empty if there are no replicas."""
    if not replicas:
        return {}
    most = -(-len(accounts) // len(replicas))
    held: Counter[str] = Counter()
    plan: dict[str, str] = {}
    for account in sorted(accounts):
        room = [replica for replica in replicas if held[replica] < most]
        plan[account] = max(room, key=lambda replica: (_weight(account, replica), replica))
        held[plan[account]] += 1
    return plan


def _weight(account: str, replica: str) -> bytes:
    return blake2b(f"{account}\0{replica}".encode(), digest_size=8).digest()
