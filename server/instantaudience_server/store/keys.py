"""Every key in the cluster, and the hash slot it is in (docs/architecture.md, "Storage").

A user's memberships are all in one key, so that a change or a read of a user concerns one node.
"""

from binascii import crc_hqx
from functools import cache
from itertools import count

SLOTS = 16384
"""Hash slots of a cluster (https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/)."""


PLATFORM_PREFIX = b"m:p:"
"""`membership_key`s of the platform's own user IDs begin with this."""
EXTERNAL_PREFIX = b"x:"
"""`external_id_key`s begin with this."""


def membership_key(domain_letter: bytes, user_id: bytes) -> bytes:
    """The hash of a user's memberships: segment ID → the membership's value, each field with its own expiry."""
    return b"m:%b:%b" % (domain_letter, user_id)


def session_key(token_hash: str) -> bytes:
    """The string that holds a session; `token_hash` is the hexadecimal SHA-256 of its token."""
    return f"t:{token_hash}".encode()


def sign_ins_key(user_id: int) -> bytes:
    """The sorted set of an account's recent sign-ins. Members are the hashes of the tokens that were issued, scores are
    Unix times in ms by the node's clock."""
    return f"a:{user_id}".encode()


def guesses_key(subject: str) -> bytes:
    """The sorted set of recent guesses of a password; `subject` is a hash of the account's name and of the network that
    guesses. Scores are Unix times in ms by the node's clock."""
    return f"f:{subject}".encode()


def external_id_key(member_id: int, external_id: str) -> bytes:
    """The string that holds the platform user ID that a member's external ID maps to."""
    return EXTERNAL_PREFIX + f"{member_id}:{external_id}".encode()


def quota_key(member_id: int, quota: str) -> bytes:
    """The hash of a member's current quota window: its second, what was admitted in it, and the last answer to each
    worker."""
    return b"q:{%d}:%b" % (member_id, quota.encode())


def usage_key(member_id: int, hour: int) -> bytes:
    """The hash of what a member sent in an hour; `hour` is the number of hours since 1970 (UTC)."""
    return b"r:{%d}:%d" % (member_id, hour)


def usage_lines_key(member_id: int, hour: int, kind: str) -> bytes:
    """The string of an hour's sampled lines of a kind (`interfaces.usage.Lines`), in the slot of `usage_key`."""
    return b"l:{%d}:%d:%b" % (member_id, hour, kind.encode())


@cache
def _tags() -> list[bytes]:
    """A hash tag for each slot. The first call takes some hundredths of a second."""
    tags: dict[int, bytes] = {}
    numbers = count()
    while len(tags) < SLOTS:
        tag = b"%d" % next(numbers)
        tags.setdefault(crc_hqx(tag, 0) % SLOTS, tag)
    return [tags[slot] for slot in range(SLOTS)]


def mark_key(slot: int) -> bytes:
    """A key in a given slot, for commands that have to reach the slot's node but concern no data of the service. It
    begins as those of quotas do, so that ACLs need no further pattern."""
    return b"q:{%b}:mark" % _tags()[slot]


def segment_size_key(segment_id: int, week: int) -> bytes:
    """The HyperLogLog of the users who joined a segment in a week; `week` is the number of weeks since 1970 (UTC).

    All weeks of a segment are in one slot.
    """
    return b"h:{%d}:%d" % (segment_id, week)


def suppression_key(user_key: bytes) -> bytes:
    """The hash of the members for which a user is suppressed, each field with its own expiry. Its tag is `user_key`,
    which contains no braces; so it is in the slot of the user's memberships."""
    return b"s:{%b}" % user_key


SUPPRESSED_USERS = b"p:{suppressions}:users:"
"""`suppressed_users_key`s begin with this."""


def suppressed_users_key(member_id: int) -> bytes:
    """The sorted set of a member's suppressed users, by the end of their suppression."""
    return SUPPRESSED_USERS + b"%d" % member_id


SUPPRESSING_MEMBERS = b"p:{suppressions}:members"
"""The hash of the members that have suppressed users: member ID → the latest end of its suppressions. All `p:` keys
share a slot."""
SUPPRESSIONS_VERSION = b"p:{suppressions}:version"
"""The string with the version of `SUPPRESSING_MEMBERS`: a random name that is replaced with each change."""
SUPPRESSIONS_DUE = b"p:{suppressions}:due"
"""The sorted set of suppressed users that are to be removed from segments once more; scores are the times when they are
due, Unix times in ms."""

CATALOG_MEMBERS = b"c:{catalog}:members"
CATALOG_USERS = b"c:{catalog}:users"
CATALOG_SEGMENTS = b"c:{catalog}:segments"
"""The hashes of the catalog's objects, by kind: ID → the serialised message. All `c:` keys share a slot."""
CATALOG_OWNED = b"c:{catalog}:owned"
"""The hash member ID → how many users and segments the member owns."""
CATALOG_NAMES = b"c:{catalog}:names"
"""The hash unique name → the ID of the object that has it."""
CATALOG_PASSWORDS = b"c:{catalog}:passwords"
"""The hash user ID → the argon2 hash of the user's password."""
CATALOG_VERSION = b"c:{catalog}:version"
"""The string with the ID of the newest change."""
CATALOG_CHANGES = b"c:{catalog}:changes"
"""The stream of the newest changes. An entry's ID is the number of the change, counted from 1, and the random name of
the command that made it."""
CATALOG_IDS = b"c:{catalog}:ids"
"""The hash kind → the largest ID that is or was in use."""
CATALOG_GENERATION = b"generation"
"""The field of `CATALOG_IDS` with the largest token generation of the users that were deleted."""
CATALOG_SEEDING = b"c:{catalog}:seeding"
"""The string that exists while a file is being imported into a catalog that was empty."""
CATALOG_PARTIAL = b"c:{catalog}:partial"
"""The string that exists from when a restore removes the catalog until it has written the whole of the new one; its
value is the restore's name."""
RESTORE_LEASE = b"c:{catalog}:restore"
"""The string with the name of the restore that may run; expires."""
CATALOG_WRITTEN = (
    CATALOG_MEMBERS,
    CATALOG_USERS,
    CATALOG_SEGMENTS,
    CATALOG_OWNED,
    CATALOG_NAMES,
    CATALOG_PASSWORDS,
    CATALOG_VERSION,
    CATALOG_CHANGES,
    CATALOG_IDS,
    CATALOG_PARTIAL,
    CATALOG_SEEDING,
)
"""The keys that the script of `CatalogStore.write` uses, in its order, but for the last one (`catalog_answer_key`)."""


def catalog_answer_key(command_name: int) -> bytes:
    """The string with the answer to a command that changed the catalog, for when the command is sent again; expires."""
    return b"c:{catalog}:answer:%d" % command_name


JOB_NUMBERS = b"b:{batch}:numbers"
"""The string with the number of the newest job. All `b:` keys share a slot."""
JOB_QUEUES = b"b:{batch}:queues"
"""The hash of the jobs that wait or are running: member ID → job IDs, oldest first, separated by spaces."""
JOB_TURNS = b"b:{batch}:turns"
"""The list of the members that have jobs waiting and none running, next one first."""
JOB_LEASES = b"b:{batch}:leases"
"""The sorted set of the members that have a job running; scores are the ends of the leases, Unix times in ms by the
node's clock."""


def job_key(job_id: str) -> bytes:
    """The hash of a job."""
    return b"b:{batch}:job:%b" % job_id.encode()


def job_url_key(url_hash: str) -> bytes:
    """The string that holds the ID of the job that an upload URL is for; expires."""
    return b"b:{batch}:url:%b" % url_hash.encode()


def upload_mark_key(span: int) -> bytes:
    """The string with the mark of the upload URLs made in a span of time (`interfaces.jobs.MARK_MS`); expires."""
    return b"b:{batch}:mark:%d" % span


def jobs_key(member_id: int) -> bytes:
    """The sorted set of a member's jobs in the order of their creation."""
    return b"b:{batch}:jobs:%d" % member_id


def unused_jobs_key(member_id: int) -> bytes:
    """The sorted set of a member's jobs without a file; scores are the times of their creation or of the end of their
    failed upload, Unix times in ms."""
    return b"b:{batch}:unused:%d" % member_id


def changed_jobs_key(member_id: int) -> bytes:
    """The sorted set of a member's jobs; scores are the times of their latest change, Unix times in ms."""
    return b"b:{batch}:changed:%d" % member_id


def uploads_key(member_id: int) -> bytes:
    """The hash of a member's uploads, past and present. Fields:

    `open`: the job whose upload URL may be used; `u:<job>`: when an upload under way times out unless more of it has
    come; `s:<job>`: its bytes and lines; `b<hour>`, `l<hour>`, `j<hour>`: bytes, lines and files of an hour, which is
    the number of hours since 1970.
    """
    return b"b:{batch}:uploads:%d" % member_id


def taken_key(lease: str) -> bytes:
    """The string with the member and the job that were taken under a lease, and the lease's end, for when the command
    is sent again; expires."""
    return b"b:{batch}:taken:%b" % lease.encode()


def key_slot(key: bytes) -> int:
    """The slot of a key: CRC16 of its hash tag (`{…}`) or, where it has none, of the whole key, modulo `SLOTS`.

    The rule of tags also applies to keys with external IDs, which may contain braces.
    """
    start = key.find(b"{")
    if start != -1:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1 : end]
    return crc_hqx(key, 0) % SLOTS
