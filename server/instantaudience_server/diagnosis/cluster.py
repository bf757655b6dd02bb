"""Checks whether a cluster is suitable for the service, and retains what was acknowledged (docs/cluster.md, "An own
Redis Cluster")."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from instantaudience_server.diagnosis.finding import Finding, Level, problem, warning
from instantaudience_server.diagnosis.members import Wishes
from instantaudience_server.settings import Durability
from instantaudience_server.store.cluster.topology import NEEDED, REQUIRED
from instantaudience_server.store.inspection import durability_settings
from instantaudience_server.store.inspection.facts import ClusterFacts

CLOCK_WARNING_SECONDS, CLOCK_PROBLEM_SECONDS = 1.0, 30.0
"""Calls are counted in the hour of the worker that receives them, and memberships expire by the nodes' clocks.
`tests/faults/` covers differences of half a minute."""
MEMORY_WARNING, MEMORY_PROBLEM = 0.75, 0.9
"""Shares of `maxmemory`; a node that reaches it accepts no writes."""
NAMED = 5
"""How many members are listed by ID for the same durability."""
_AS_OPERATOR = "run this as an operator's user, with --acl-user and the name of the service's user"
_ALIKE = "give the user the same password and rights on every node"
_CLOSED = {"NOPERM": _AS_OPERATOR, "WRONGPASS": _ALIKE, "NOAUTH": _ALIKE}
"""What to do about a node that refuses to be inspected, by the code of its error."""
_DISKS = {
    "aof_last_write_status": "",
    "aof_last_bgrewrite_status": " It stays so until it is written anew: BGREWRITEAOF",
    "rdb_last_bgsave_status": " It stays so until it is written anew: BGSAVE",
}
"""Fields of INFO that tell whether a node could write to disk, each with what clears an error."""
_OF_OTHERS = " (known of nodes that answer)"
"""Appended to what is well where a node could not be asked."""
_ON_EACH = ", and in the configuration file, on each node named here"
_BY_WORDS = 'docs/observability.md, "Health", has the words'


class Wanted(NamedTuple):
    """The durability that acknowledgements must have: the service's default, and what members ask for. `embedded`: the
    cluster has no replicas, so `DISK` waits only for its own disks."""

    service: Durability
    wishes: Wishes
    embedded: bool

    def waits_for_replicas(self, durability: Durability) -> bool:
        """Whether acknowledgements with this durability need a replica."""
        return durability is Durability.REPLICA or (durability is Durability.DISK and not self.embedded)


class Check(NamedTuple):
    """The check of a topic: `fine` is the text if it finds no faults, `asked` are the commands that it depends on. If a
    node refuses one of these, the result is unknown."""

    topic: str
    fine: str
    faults: Callable[[ClusterFacts, Wanted], Iterable[Finding]]
    asked: tuple[str, ...] = ()


def judge(facts: ClusterFacts, wanted: Wanted) -> Iterator[Finding]:
    """Run all checks; yield at least one finding for each topic. Where no node answers, that is all that is known."""
    known_of = _OF_OTHERS if facts.silent or facts.closed else ""
    for check in CHECKS if facts.nodes else CHECKS[:1]:
        found = [*check.faults(facts, wanted), *_untold(facts, check)]
        yield from found or [Finding(Level.OK, check.topic, check.fine + known_of)]


def _untold(facts: ClusterFacts, check: Check) -> Iterator[Finding]:
    """Warnings about commands that nodes refuse, one for each reason."""
    for command in check.asked:
        for why, names in _alike((node.name, node.refused.get(command)) for node in facts.nodes):
            yield warning(check.topic, f"not known of {names}: {command}: {why}", _AS_OPERATOR)


def _alike(told: Iterable[tuple[str, str | None]]) -> Iterator[tuple[str, str]]:
    """What nodes tell, of names with what each tells: each once, with the names of those that tell it; None is left
    out."""
    names: dict[str, list[str]] = {}
    for name, value in told:
        if value is not None:
            names.setdefault(value, []).append(name)
    for value, alike in names.items():
        yield value, ", ".join(alike)


def _reach(facts: ClusterFacts, _: Wanted) -> Iterator[Finding]:
    for name, why in facts.silent.items():
        mend = "look whether it runs, and whether this machine reaches this address, which the node announces"
        yield problem("nodes", f"{name} does not answer: {why}", mend)
    for name, why in facts.closed.items():
        mend = _CLOSED.get(why.split(maxsplit=1)[0], _BY_WORDS)
        yield problem("nodes", f"{name} does not say how it is: {why}", mend)


def _slots(facts: ClusterFacts, _: Wanted) -> Iterator[Finding]:
    if facts.unserved_slots:
        yield problem(
            "slots", f"nobody serves {facts.unserved_slots} of 16384 slots", "CLUSTER NODES tells whose they were"
        )
    for node in facts.primaries:
        state = node.cluster.get("cluster_state", "ok")
        failing = int(node.cluster.get("cluster_slots_pfail", 0)) + int(node.cluster.get("cluster_slots_fail", 0))
        if state != "ok":
            yield problem(
                "slots", f"{node.name} says that the cluster is {state}", "bring back the nodes that are away"
            )
        elif failing:
            yield problem(
                "slots", f"{node.name} cannot reach who serves {failing} slots", "look at the network between"
            )


def _versions(facts: ClusterFacts, _: Wanted) -> Iterator[Finding]:
    for node in facts.nodes:
        product = "Valkey" if "valkey_version" in node.info else "Redis"
        version = str(node.info.get("valkey_version", node.info.get("redis_version", "0.0")))
        if tuple(map(int, version.split(".")[:2])) < NEEDED[product]:
            yield problem("versions", f"{node.name} runs {product} {version}", f"{REQUIRED} or newer is needed")


def _clocks(facts: ClusterFacts, _: Wanted) -> Iterator[Finding]:
    for node in facts.nodes:
        ahead = node.clock_ahead_seconds
        if abs(ahead) > CLOCK_WARNING_SECONDS:
            kind = problem if abs(ahead) > CLOCK_PROBLEM_SECONDS else warning
            where = "ahead of" if ahead > 0 else "behind"
            yield kind("clocks", f"{node.name} is {abs(ahead):.1f} s {where} this machine", "have NTP set both clocks")


def _settings(facts: ClusterFacts, wanted: Wanted) -> Iterator[Finding]:
    checks = [each for each in durability_settings.CHECKS if facts.has_replicas or not each.needs_replicas]
    for node in facts.nodes:
        untold = [each.directive for each in checks if each.directive not in node.settings]
        if untold and "CONFIG GET" not in node.refused:
            mend = "look them up where its configuration is kept; docs/cluster.md has what they should be"
            yield warning("settings", f"{node.name} does not tell {', '.join(untold)}", mend)
    for check in checks:
        kind = problem if check.keeps_all else warning
        for value, names in _alike((node.name, node.settings.get(check.directive)) for node in facts.nodes):
            if not check.right(value):
                yield kind(
                    "settings",
                    f"{names}: {check.directive} is {value}",
                    f"CONFIG SET {check.directive} {check.wanted} ({check.reason}){_ON_EACH}",
                )
    if Durability.DISK in (wanted.service, *wanted.wishes.members):
        for value, names in _alike((node.name, node.settings.get("appendfsync")) for node in facts.nodes):
            if value != "always":
                yield warning(
                    "settings",
                    f"{names}: appendfsync is {value}; each call waits a second or two for it",
                    "an own cluster (--redis) may have appendfsync always, the embedded one has not"
                    if wanted.embedded
                    else f"CONFIG SET appendfsync always{_ON_EACH}",
                )


def _disks(facts: ClusterFacts, _: Wanted) -> Iterator[Finding]:
    for node in facts.nodes:
        for name, again in _DISKS.items():
            if node.info.get(name, "ok") != "ok":
                mend = f"look into its log: is the disk full?{again}"
                yield problem("disks", f"{node.name}: {name} is {node.info[name]}", mend)
        if node.info.get("loading"):
            yield warning("disks", f"{node.name} reads its data", "wait until it has")


def _replicas(facts: ClusterFacts, wanted: Wanted) -> Iterator[Finding]:
    are_wanted = wanted.waits_for_replicas(wanted.service)
    kind = problem if are_wanted else warning
    has_replicas = facts.has_replicas
    for node in facts.primaries:
        count = int(node.info.get("connected_slaves", 0))
        if count == 0 and (has_replicas or are_wanted):
            yield kind("replicas", f"{node.name} has no replica that follows it", "give it one, or bring it back")
        elif count == 1 and wanted.service is Durability.REPLICA:
            yield warning(
                "replicas",
                f"{node.name} has one replica; while that is away, its slots take no writes",
                "give each primary two",
            )
    for node in facts.nodes:
        if not node.is_primary and node.info.get("master_link_status") != "up":
            text, mend = ("has lost its primary", "look into its log: network, masterauth, masteruser?")
            if node.info.get("master_sync_in_progress"):
                text, mend = ("is copying its primary's data, and cannot replace it before", "wait until it has")
            yield kind("replicas", f"{node.name} {text}", mend)
    if not has_replicas and not are_wanted:
        yield warning(
            "replicas",
            "no primary has a replica: a machine that is lost takes memberships with it",
            "the embedded cluster has none: take backups, or give --redis a cluster of your own that has some"
            if wanted.embedded
            else "add replicas",
        )


def _members(facts: ClusterFacts, wanted: Wanted) -> Iterator[Finding]:
    if wanted.wishes.is_partial:
        yield problem(
            "members",
            "a part of the catalog is there: a restore is at work, or was cut short. Until it has ended, nobody can "
            "sign in, and no worker begins to serve",
            "wait for the restore; where none runs, run it again, with the same file",
        )
    if wanted.wishes.unknown:
        text = f"what they want of acknowledgements is not known: {wanted.wishes.unknown}"
        yield warning("members", text, wanted.wishes.mend)
    lone = [node.name for node in facts.primaries if not int(node.info.get("connected_slaves", 0))]
    for durability, ids in wanted.wishes.members.items():
        if lone and wanted.waits_for_replicas(durability):
            yield problem(
                "members",
                f"{_named(ids)} with durability {durability} waits in vain where no replica follows: {', '.join(lone)}",
                "give each primary one, or the member another durability: `member set ID --durability primary`",
            )


def _named(ids: Sequence[int]) -> str:
    """The first few members by ID, and how many others there are."""
    first = ", ".join(map(str, sorted(ids)[:NAMED]))
    return f"member {first}" + (f" (and {len(ids) - NAMED} others)" if len(ids) > NAMED else "")


def _memory(facts: ClusterFacts, _: Wanted) -> Iterator[Finding]:
    for node in facts.nodes:
        dropped = int(node.info.get("evicted_keys", 0))
        if dropped:
            yield problem(
                "memory",
                f"{node.name} has dropped {dropped} keys",
                "set maxmemory-policy noeviction, restore a backup, and have the node forget it: CONFIG RESETSTAT",
            )
        used, limit = int(node.info.get("used_memory", 0)), int(node.info.get("maxmemory", 0))
        of = "maxmemory" if limit else "the machine's memory"
        limit = limit or int(node.info.get("total_system_memory", 0))
        share = used / limit if limit else 0.0
        if share > MEMORY_WARNING:
            kind = problem if share > MEMORY_PROBLEM else warning
            yield kind("memory", f"{node.name} uses {share:.0%} of {of}", "give it more, or move slots to other nodes")


def _rights(facts: ClusterFacts, _: Wanted) -> Iterator[Finding]:
    for node in facts.nodes:
        if node.locks_out:
            yield problem(
                "rights",
                f"{node.name} does not let the service's user sign in: it is not there, or it is off",
                'give each node the user of docs/cluster.md, "An own Redis Cluster": nodes do not tell each other',
            )
        if node.forbidden:
            yield problem(
                "rights",
                f"{node.name} forbids the service's user: {', '.join(node.forbidden)}",
                'compare the ACL with docs/cluster.md, "An own Redis Cluster"',
            )


CHECKS = (
    Check("nodes", "every node answers", _reach),
    Check("slots", "every slot is served", _slots, asked=("CLUSTER INFO",)),
    Check("versions", f"every node runs {REQUIRED}, or newer", _versions),
    Check("clocks", "every node's clock agrees with this machine's", _clocks),
    Check("settings", "the nodes keep what was acknowledged", _settings, asked=("CONFIG GET",)),
    Check("disks", "every node can write its disk", _disks),
    Check("replicas", "every primary has a replica that follows it", _replicas),
    Check("members", "what members want of acknowledgements can be had", _members),
    Check("memory", "no node is short of memory, and none has dropped anything", _memory),
    Check(
        "rights",
        "the service's user may do what it needs",
        _rights,
        asked=("ACL WHOAMI", "ACL GETUSER", "ACL DRYRUN"),
    ),
)
