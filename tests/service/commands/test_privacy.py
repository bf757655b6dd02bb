"""`user-data`: what people may ask about what is kept of them."""

from typing import Any

import pytest
from redis.asyncio import RedisCluster
from service.commands.conftest import environment_of
from support.service.running import ON_ONE_HOST, Service
from support.waiting import eventually

# The commands know nothing of hosts: one will do.
pytestmark = ON_ONE_HOST

USER = "4711815"


async def test_the_way_of_a_user(run: Any, demo: dict[str, str], cluster: RedisCluster) -> None:
    await cluster.hset(f"m:p:{USER}", "10001", 1)
    shown = await run("user-data", "access", USER, env=demo)
    assert (shown.status, shown.errors) == (0, "")
    assert "10001" in shown.output
    assert "Sports fans" in shown.output
    refused = await run("user-data", "delete", USER, env=demo, stdin="n\n")
    unasked = await run("user-data", "delete", USER, env=demo)
    assert (refused.status, unasked.status) == (1, 1)
    assert unasked.errors.endswith("\nError: nobody agreed to it: where nobody can be asked, say --yes\n")
    assert await cluster.exists(f"m:p:{USER}")
    deleted = await run("user-data", "delete", USER, "--suppress-minutes", "0", "--yes", env=demo)
    assert deleted.output.startswith(f"{USER} was taken out of")
    assert "Sports fans" in deleted.output
    assert deleted.output.endswith(f"\n{USER} is suppressed for ever\n")
    assert not await cluster.exists(f"m:p:{USER}")
    again = await run("user-data", "delete", USER, "--suppress-minutes", "5", "--yes", env=demo)
    assert again.output.endswith(f"\n{USER} is suppressed for at least 5 minutes\n"), "for ever it has been before"
    assert await cluster.hpexpiretime(f"s:{{m:p:{USER}}}", "123") == [-1]
    as_json = await run("user-data", "access", USER, "--json", env=demo)
    assert as_json.output == "[]\n"
    nothing = await run("user-data", "access", USER, env=demo)
    assert nothing.output == f"{USER} is in no segment\n"
    lifted = await run("user-data", "lift", USER, env=demo)
    assert (lifted.status, lifted.output) == (0, f"{USER} is no longer suppressed\n")
    unsuppressed = await run("user-data", "lift", USER, env=demo)
    assert (unsuppressed.status, unsuppressed.output) == (0, f"{USER} was not suppressed\n")

    async def is_known_no_more() -> None:
        assert not await cluster.hgetall("p:{suppressions}:members")

    await eventually(is_known_no_more)


async def test_lifting_says_who_is_still_suppressed(run: Any, service: Service) -> None:
    admin = await environment_of(service, "admin")
    user, outputs = "4711816", []
    for arguments in (
        ("delete", user, "--suppress-minutes", "0", "--yes"),
        ("delete", user, "--suppress-minutes", "0", "--yes", "--member", "123"),
        ("lift", user, "--member", "123"),
        ("lift", user, "--member", "123"),
        ("lift", user),
        ("lift", user),
    ):
        ended = await run("user-data", *arguments, env=admin)
        assert (ended.status, ended.errors) == (0, "")
        outputs.append(ended.output)
    for_all = f"{user} is still suppressed for all members; an admin lifts that, without --member\n"
    assert outputs[2:] == [
        f"The member's own suppression is lifted, but {for_all}",
        f"The member had not suppressed the user, but {for_all}",
        f"{user} is no longer suppressed\n",
        f"{user} was not suppressed\n",
    ]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("access", "x"), "'identifier' does not have the form that its kind asks for"),
        (("access", "5", "--maid"), "'identifier' does not have the form that its kind asks for"),
        (("lift", "5", "--member", "777"), "This belongs to another member"),
    ],
)
async def test_what_is_wrong(run: Any, demo: dict[str, str], arguments: tuple[str, ...], text: str) -> None:
    ended = await run("user-data", *arguments, env=demo)
    assert (ended.status, ended.output) == (1, "")
    assert text in ended.errors
