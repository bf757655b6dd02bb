"""Every key in the cluster, and the slot it lives in (source: design, "Storage").

A user's key holds all of its memberships, so that every change and every read of a user is one command on one node.
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
    """The hash of a user: field = segment ID, value = the membership's value, each field with its own expiry."""
    return b"m:%b:%b" % (domain_letter, user_id)


def session_key(token_hash: str) -> bytes:
    """The string of a session; `token_hash` is the hexadecimal SHA-256 of its token."""
    return f"t:{token_hash}".encode()


def sign_ins_key(user_id: int) -> bytes:
    """The sorted set of an account's recent sign-ins; members are unique, scores are Unix times in ms of
    the node's clock."""
    return f"a:{user_id}".encode()


def guesses_key(subject: str) -> bytes:
    """The sorted set of recent guesses of a password; `subject` is a hash of whose and by whom, scores are Unix times
    in ms of the node's clock."""
    return f"f:{subject}".encode()


def external_id_key(member_id: int, external_id: str) -> bytes:
    """The string that holds the platform user ID that a member's external ID maps to."""
    return EXTERNAL_PREFIX + f"{member_id}:{external_id}".encode()


def quota_key(member_id: int, quota: str) -> bytes:
    """The hash of a member's current window: its second, what was admitted in it, and each worker's last answer."""
    return b"q:{%d}:%b" % (member_id, quota.encode())


def usage_key(member_id: int, hour: int) -> bytes:
    """The hash of what a member sent in an hour, which is given by how many had passed since 1970 (UTC)."""
    return b"r:{%d}:%d" % (member_id, hour)


def usage_lines_key(member_id: int, hour: int, kind: str) -> bytes:
    """The text of an hour's lines of a kind, in the slot of `usage_key`."""
    return b"l:{%d}:%d:%b" % (member_id, hour, kind.encode())


@cache
def _tags() -> list[bytes]:
    """A hash tag for each slot; takes some hundredths of a second, once."""
    tags: dict[int, bytes] = {}
    numbers = count()
    while len(tags) < SLOTS:
        tag = b"%d" % next(numbers)
        tags.setdefault(crc_hqx(tag, 0) % SLOTS, tag)
    return [tags[slot] for slot in range(SLOTS)]


def mark_key(slot: int) -> bytes:
    """A key of a slot, for what is about its node and nothing else; named as quotas are, for ACLs."""
    return b"q:{%b}:mark" % _tags()[slot]


def segment_size_key(segment_id: int, week: int) -> bytes:
    """The HyperLogLog of who joined a segment in a week, which is given by how many had passed since 1970 (UTC).

    All weeks of a segment are in one slot.
    """
    return b"h:{%d}:%d" % (segment_id, week)


def suppression_key(user_key: bytes) -> bytes:
    """The hash of the members for which a user is suppressed, in the slot of the user's memberships; each field has its
    own expiry. (Keys of users have no braces.)"""
    return b"s:{%b}" % user_key


SUPPRESSED_USERS = b"p:{suppressions}:users:"
"""How the names of these sorted sets begin."""


def suppressed_users_key(member_id: int) -> bytes:
    """The sorted set of a member's suppressed users, by the end of their suppression."""
    return SUPPRESSED_USERS + b"%d" % member_id


SUPPRESSING_MEMBERS = b"p:{suppressions}:members"
"""The hash of the members that have suppressed users, with the latest end of their suppressions. All `p:` keys share a
slot."""
SUPPRESSIONS_VERSION = b"p:{suppressions}:version"
"""A name of what that hash holds."""
SUPPRESSIONS_DUE = b"p:{suppressions}:due"
"""The sorted set of suppressed users that are to be removed from segments once more, by when."""

CATALOG_MEMBERS = b"c:{catalog}:members"
CATALOG_USERS = b"c:{catalog}:users"
CATALOG_SEGMENTS = b"c:{catalog}:segments"
"""The hashes of the catalog's objects: field = ID, value = the serialised message. All `c:` keys share a slot."""
CATALOG_OWNED = b"c:{catalog}:owned"
"""The hash of how many users and segments a member owns, by member ID."""
CATALOG_NAMES = b"c:{catalog}:names"
"""The hash of unique names; value = the ID of the object that has it."""
CATALOG_PASSWORDS = b"c:{catalog}:passwords"
"""The hash of users' argon2 hashes, by user ID."""
CATALOG_VERSION = b"c:{catalog}:version"
"""The ID of the newest change."""
CATALOG_CHANGES = b"c:{catalog}:changes"
"""The stream of the newest changes; the ID of an entry is its number, counted from 1, and a random one."""
CATALOG_IDS = b"c:{catalog}:ids"
"""The hash of the largest ID in use, by kind."""
CATALOG_GENERATION = b"generation"
"""Its field for the largest token generation of users that are gone."""
CATALOG_SEEDING = b"c:{catalog}:seeding"
"""There while a file is being put into a catalog that was empty."""
CATALOG_PARTIAL = b"c:{catalog}:partial"
"""There from when a restore does away with the catalog until it has put all of another one in its place."""
RESTORE_LEASE = b"c:{catalog}:restore"
"""The string that names the restore whose turn it is; expires."""
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
"""What a change looks at, in the order that the store's script has."""


def catalog_answer_key(command_name: int) -> bytes:
    """The string of what was answered to a command that changes the catalog, for when it is sent again; expires."""
    return b"c:{catalog}:answer:%d" % command_name


JOB_NUMBERS = b"b:{batch}:numbers"
"""The string that counts jobs. All `b:` keys share a slot."""
JOB_QUEUES = b"b:{batch}:queues"
"""The hash of the jobs that wait or are under way: member ID → their IDs, the oldest first, separated by spaces."""
JOB_TURNS = b"b:{batch}:turns"
"""The list of the members that have jobs waiting and none under way; the next one's turn is first."""
JOB_LEASES = b"b:{batch}:leases"
"""The sorted set of the members that have a job under way; scores are the ends of their leases, Unix times in ms."""


def job_key(job_id: str) -> bytes:
    """The hash of a job."""
    return b"b:{batch}:job:%b" % job_id.encode()


def job_url_key(url_hash: str) -> bytes:
    """The string that holds the ID of the job that an upload URL is for; expires."""
    return b"b:{batch}:url:%b" % url_hash.encode()


def upload_mark_key(span: int) -> bytes:
    """The string that upload URLs of a span of time begin with (`interfaces.jobs.MARK_MS`); expires."""
    return b"b:{batch}:mark:%d" % span


def jobs_key(member_id: int) -> bytes:
    """The sorted set of a member's jobs; scores are their numbers."""
    return b"b:{batch}:jobs:%d" % member_id


def unused_jobs_key(member_id: int) -> bytes:
    """The sorted set of a member's jobs whose file has not come; scores are when they were made, or their uploads were
    over, in ms likewise."""
    return b"b:{batch}:unused:%d" % member_id


def changed_jobs_key(member_id: int) -> bytes:
    """The sorted set of a member's jobs; scores are when they changed, Unix times in ms."""
    return b"b:{batch}:changed:%d" % member_id


def uploads_key(member_id: int) -> bytes:
    """The hash of what a member uploads and has uploaded: the job whose URL is open; those whose file comes, with until
    when more must have come, and bytes and lines; bytes, lines and files by hour (counted since 1970)."""
    return b"b:{batch}:uploads:%d" % member_id


def taken_key(lease: str) -> bytes:
    """The string that holds which job was taken under a lease, for when it is asked again; expires."""
    return b"b:{batch}:taken:%b" % lease.encode()


def key_slot(key: bytes) -> int:
    """The slot of a key: CRC16 of the key or, where it has one, of its hash tag `{…}`.

    External IDs may contain braces, so the tag rule matters.
    """
    start = key.find(b"{")
    if start != -1:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1 : end]
    return crc_hqx(key, 0) % SLOTS
