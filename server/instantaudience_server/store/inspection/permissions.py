"""The permissions that the service's user needs in the cluster, for its ACL."""

KEY_LETTERS = "abcfhlmpqrstx"
"""Every key begins with one of these and a colon (see `keys`)."""

ON_KEYS = (
    *("APPEND {key} 1", "DEL {key}", "EVAL return 1 {key}", "EXPIRE {key} 1", "GET {key}", "GETRANGE {key} 0 1"),
    *("HDEL {key} 1", "HEXISTS {key} 1"),
    *("HGET {key} 1", "HGETALL {key}", "HINCRBY {key} 1 1", "HKEYS {key}", "HMGET {key} 1"),
    *("HPEXPIRETIME {key} FIELDS 1 1", "HSCAN {key} 0", "HSET {key} 1 1", "HSETEX {key} FIELDS 1 1 1", "INCR {key}"),
    *("LPOP {key}", "LREM {key} 1 1", "PEXPIRE {key} 1", "PEXPIREAT {key} 1", "PEXPIRETIME {key}", "PFADD {key} 1"),
    *("PFCOUNT {key}", "RPUSH {key} 1", "SET {key} 1", "XADD {key} 1-1 1 1", "XRANGE {key} - +", "ZADD {key} 1 1"),
    *("ZCARD {key}", "ZRANGE {key} 0 1", "ZRANGEBYSCORE {key} 0 1", "ZREM {key} 1", "ZREMRANGEBYSCORE {key} 0 1"),
    "ZSCORE {key} 1",
)
"""Commands on keys, with valid arguments."""
WITHOUT_KEYS = (
    *("ASKING", "CLIENT SETINFO LIB-NAME x", "CLUSTER SLOTS", "COMMAND INFO GET", "INFO server", "PING", "TIME"),
    *("WAIT 1 1", "WAITAOF 1 1 1"),
)
"""Commands without keys, with valid arguments."""
_KEY = "m:p:0"


def name_of(command: str) -> str:
    """The name of a command in ACLs: `hset`, `cluster|slots`."""
    first, *others = command.lower().split(" ")
    return f"{first}|{others[0]}" if first in ("client", "cluster", "command") else first


def _words_of(command: str) -> list[str]:
    """A command's words, with a sample key."""
    if command.startswith("EVAL "):
        return ["EVAL", "return 1", "1", _KEY]
    return command.format(key=_KEY).split(" ")


COMMANDS = {name_of(each): _words_of(each) for each in (*WITHOUT_KEYS, *ON_KEYS)}
"""The commands that the ACL has to allow, name → sample words; besides `auth` and `hello`, which every user needs to
sign in."""

ON_LETTERS = {f"keys {letter}:*": ["EVAL", "0", "1", f"{letter}:0"] for letter in KEY_LETTERS}
"""The patterns of keys that the ACL has to allow, name → a sample command on such a key: one that whoever asks by a
script may run, so that it is the key that is asked about."""
RESTORED_BY = (
    *("del", "get", "hdel", "hpexpiretime", "hscan", "hset", "hsetex", "pexpire", "pexpireat", "pexpiretime", "set"),
    *("xadd", "zadd", "zrange", "zremrangebyscore", "zscore"),
)
RESTORE = (
    {name: COMMANDS[name] for name in RESTORED_BY}
    | {"cluster|getkeysinslot": ["CLUSTER", "GETKEYSINSLOT", "0", "1"]}
    | {"exists": ["EXISTS", _KEY], "zscan": ["ZSCAN", _KEY, "0"]}
    | ON_LETTERS
)
"""The permissions that an operator's user needs for `restore`, besides `eval`: name → sample words."""
